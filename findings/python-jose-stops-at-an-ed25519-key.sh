#!/usr/bin/env bash
# python-jose verifies an ES256 token with a JWK Set that holds only its key, and fails with the same set
# when a key of type OKP (Ed25519) stands before it, although `kid` and `alg` name the other key. An
# issuer that adds or drops Ed25519 therefore breaks such readers while both keys are published.
#
# Observed with python-jose 3.5.0 on Python 3.11:
#
#   the EC key alone: ada
#   the EC key before the OKP key: ada
#   the OKP key before the EC key: JWKError: Incorrect key type. Expected: 'EC', Received: OKP
#
# Needs Python 3 with venv, and PyPI. Fails if one of these lines changes.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check 'python-jose[cryptography]==3.5.0' 'jwcrypto==1.6.1'

cat > run.py <<'PY'
import json
import time

from jose import jwt
from jwcrypto import jwk, jwt as signer

ec = jwk.JWK.generate(kty="EC", crv="P-256", kid="ec", alg="ES256", use="sig")
okp = jwk.JWK.generate(kty="OKP", crv="Ed25519", kid="okp", alg="EdDSA", use="sig")
token = signer.JWT(
    header={"alg": "ES256", "kid": "ec"}, claims={"sub": "ada", "exp": int(time.time()) + 60}
)
token.make_signed_token(ec)
text = token.serialize()
public = lambda *keys: {"keys": [json.loads(key.export_public()) for key in keys]}
for name, keys in [
    ("the EC key alone", public(ec)),
    ("the EC key before the OKP key", public(ec, okp)),
    ("the OKP key before the EC key", public(okp, ec)),
]:
    try:
        said = jwt.decode(text, keys, algorithms=["ES256"])["sub"]
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
    print(f"{name}: {said}")
PY
env/bin/python -W ignore run.py | tee seen
diff seen - <<'SEEN'
the EC key alone: ada
the EC key before the OKP key: ada
the OKP key before the EC key: JWKError: Incorrect key type. Expected: 'EC', Received: OKP
SEEN

#!/usr/bin/env bash
# Authlib's validator of RFC 9068 access tokens reads ES256 and RS256, but no EdDSA: it asks joserfc to
# decode the token without naming algorithms, and EdDSA is not among those that joserfc recommends by
# itself. The validator has no option for it; joserfc called directly has.
#
# Observed with Authlib 1.9.10 and joserfc 1.8.0 on Python 3.11:
#
#   ES256 by the validator: ada
#   EdDSA by the validator: UnsupportedAlgorithmError
#   EdDSA by joserfc, algorithms=["EdDSA"]: ada
#
# Needs Python 3 with venv, and PyPI. Fails if one of these lines changes.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check Authlib==1.9.10 joserfc==1.8.0 cryptography requests

cat > run.py <<'PY'
import time

from authlib.oauth2.rfc9068 import JWTBearerTokenValidator
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OKPKey

ISSUER, API = "https://issuer.example", "https://api.example"
keys = {
    "ES256": ECKey.generate_key("P-256", {"kid": "ES256", "use": "sig", "alg": "ES256"}),
    "EdDSA": OKPKey.generate_key("Ed25519", {"kid": "EdDSA", "use": "sig", "alg": "EdDSA"}),
}
public = KeySet.import_key_set(KeySet(list(keys.values())).as_dict(private=False))


class Validator(JWTBearerTokenValidator):
    def get_jwks(self):
        return public


def token(alg):
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": API, "sub": "ada", "client_id": "c", "jti": "j", "iat": now, "exp": now + 60}
    return jwt.encode({"alg": alg, "kid": alg, "typ": "at+jwt"}, claims, keys[alg], algorithms=[alg])


def by_validator(text):
    validator = Validator(issuer=ISSUER, resource_server=API)
    claims = validator.authenticate_token(text)
    validator.validate_token(claims, [], None)
    return claims["sub"]


def name_of(work):
    try:
        return work()
    except Exception as error:
        return type(error.__cause__ or error).__name__


for alg in ["ES256", "EdDSA"]:
    print(f"{alg} by the validator:", name_of(lambda: by_validator(token(alg))))
decoded = name_of(lambda: jwt.decode(token("EdDSA"), public, algorithms=["EdDSA"]).claims["sub"])
print(f'EdDSA by joserfc, algorithms=["EdDSA"]: {decoded}')
PY
env/bin/python -W ignore run.py | tee seen
diff seen - <<'SEEN'
ES256 by the validator: ada
EdDSA by the validator: UnsupportedAlgorithmError
EdDSA by joserfc, algorithms=["EdDSA"]: ada
SEEN

#!/usr/bin/env bash
# Authlib 1.9.10 (PyPI): the client authentication `PrivateKeyJWT` has a parameter `alg`, and accepts
# "ES256". Given the client's key as a JWK or as PEM, it reads the key as an RSA key whatever `alg`
# says, so that an EC key fails with an error of the key, not of the setting. A key object of
# joserfc works.
#
# Observed: a JWK fails with KeyParameterError ("'n' is required"), PEM with InvalidKeyTypeError ("Not a key of: 'RSA'"); with
# `ECKey.import_key` the request carries an assertion with "alg": "ES256".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check Authlib==1.9.10 joserfc==1.8.0 requests==2.34.2 cryptography==50.0.2
cat > "$folder/check.py" <<'PY'
import base64
import json
from urllib.parse import parse_qs

import requests
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from joserfc.jwk import ECKey

key = ECKey.generate_key("P-256")
sent = []


class Adapter(requests.adapters.BaseAdapter):
    """Answers a token request without a network, and keeps its body."""

    def send(self, request, **_):
        sent.append(request.body)
        response = requests.Response()
        response.status_code = 200
        response._content = b'{"access_token": "a", "token_type": "Bearer"}'
        response.url, response.request = request.url, request
        return response

    def close(self):
        pass


def fetch(secret):
    session = OAuth2Session("client", secret, token_endpoint_auth_method="private_key_jwt")
    session.mount("https://", Adapter())
    session.register_client_auth_method(PrivateKeyJWT("https://issuer.example", alg="ES256"))
    session.fetch_token("https://issuer.example/oauth/token", grant_type="client_credentials")


for form, secret in [("JWK", key.as_dict(private=True)), ("PEM", key.as_pem(private=True).decode())]:
    try:
        fetch(secret)
    except Exception as error:
        print(f"{form}: {type(error).__name__}: {error}")
        assert form != "JWK" or "'n' is required" in str(error)
    else:
        raise SystemExit(f"{form}: works now")
assert not sent

fetch(key)
body = sent[0] if isinstance(sent[0], str) else sent[0].decode()
header = parse_qs(body)["client_assertion"][0].split(".")[0]
header = json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))
print(f"key object: an assertion with {header}")
assert header["alg"] == "ES256"
PY
"$folder/venv/bin/python" "$folder/check.py"
echo "as described"

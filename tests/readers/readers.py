"""Verifiers that other people wrote, for Python. See readers.mjs.

Reads requests as JSON lines from stdin and answers each with a line. A request has `reader`,
`token`, `jwksUrl`, `issuer`, `audience` and `helped`. The answer has `sub` or `error`. The first
line written lists the readers. A reader is kept for later requests with the same settings.
"""

import json
import sys
import warnings
from importlib.metadata import version

import requests

warnings.simplefilter("ignore")
ALGORITHMS = ["EdDSA", "Ed25519", "ES256", "RS256"]


def fetch(url):
    return requests.get(url, timeout=5).json()


def open_pyjwt(jwks_url, issuer, audience, helped):
    import jwt

    client = jwt.PyJWKClient(jwks_url)

    def read(token):
        key = client.get_signing_key_from_jwt(token)
        return jwt.decode(token, key, algorithms=ALGORITHMS, audience=audience, issuer=issuer)["sub"]

    return read


def open_authlib(jwks_url, issuer, audience, helped):
    from authlib.oauth2.rfc9068 import JWTBearerTokenValidator
    from joserfc import jws
    from joserfc.jwk import KeySet

    class Validator(JWTBearerTokenValidator):
        keys = None

        def get_jwks(self):
            if self.keys is None:
                self.keys = KeySet.import_key_set(fetch(jwks_url))
            return self.keys

    validator = Validator(issuer=issuer, resource_server=audience)

    def read(token):
        recommended = jws.JWSRegistry.recommended
        if helped and "EdDSA" not in recommended:
            recommended.append("EdDSA")
        try:
            claims = validator.authenticate_token(token)
            validator.validate_token(claims, [], None)
        except Exception as error:
            raise error.__cause__ or error
        finally:
            if helped:
                recommended.remove("EdDSA")
        return claims["sub"]

    return read


def open_joserfc(jwks_url, issuer, audience, helped):
    from joserfc import jwt
    from joserfc.jwk import KeySet

    keys = KeySet.import_key_set(fetch(jwks_url))
    rules = jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": issuer}, aud={"essential": True, "value": audience}
    )

    def read(token):
        options = {"algorithms": ALGORITHMS} if helped else {}
        decoded = jwt.decode(token, keys, **options)
        rules.validate(decoded.claims)
        return decoded.claims["sub"]

    return read


def open_python_jose(jwks_url, issuer, audience, helped):
    from jose import jwt

    keys = fetch(jwks_url)
    return lambda token: jwt.decode(
        token, keys, algorithms=ALGORITHMS, audience=audience, issuer=issuer
    )["sub"]


def open_jwcrypto(jwks_url, issuer, audience, helped):
    from jwcrypto import jwk, jwt

    keys = jwk.JWKSet.from_json(json.dumps(fetch(jwks_url)))

    def read(token):
        checks = {"iss": issuer, "aud": audience, "exp": None}
        return json.loads(jwt.JWT(jwt=token, key=keys, check_claims=checks).claims)["sub"]

    return read


READERS = {
    "PyJWT": (["PyJWT"], open_pyjwt, None),
    "Authlib": (["Authlib", "joserfc"], open_authlib,
                "`JWSRegistry.recommended.append('EdDSA')`, process-wide; no option"),
    "joserfc": (["joserfc"], open_joserfc, "`algorithms=['EdDSA']` (or `['Ed25519']`)"),
    "python-jose": (["python-jose"], open_python_jose, None),
    "jwcrypto": (["jwcrypto"], open_jwcrypto, None),
}


def main():
    print(json.dumps({"readers": [
        {"name": name, "versions": [version(package) for package in packages]}
        | ({"needs": needs} if needs else {})
        for name, (packages, _, needs) in READERS.items()
    ]}), flush=True)
    opened = {}
    for line in sys.stdin:
        request = json.loads(line)
        token = request.pop("token")
        try:
            settings = json.dumps(request)
            if settings not in opened:
                opened[settings] = READERS[request["reader"]][1](
                    request["jwksUrl"], request["issuer"], request["audience"], request["helped"]
                )
            answer = {"sub": opened[settings](token)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


main()

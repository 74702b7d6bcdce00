"""Runs Authlib and requests-oauthlib against an issuer. Prints what they got, as JSON."""

import json
import sys

from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from joserfc.jwk import ECKey
from oauthlib.oauth2 import BackendApplicationClient
from requests_oauthlib import OAuth2Session as OauthlibSession

setting = json.loads(sys.argv[1])
issuer = setting["issuer"]
endpoint = f"{issuer}/oauth/token"


def authlib():
    # Authlib takes a JWK as an RSA key, unless it is given as a key of its own.
    session = OAuth2Session(
        "signs-itself", ECKey.import_key(setting["key"]), scope="invoices:read", token_endpoint_auth_method="private_key_jwt",
        revocation_endpoint_auth_method="private_key_jwt",
    )
    # Authlib names the token endpoint as the audience unless it is told the issuer.
    session.register_client_auth_method(
        PrivateKeyJWT(issuer, headers={"kid": setting["key"]["kid"]}, alg=setting["key"]["alg"])
    )
    token = session.fetch_token(endpoint, grant_type="client_credentials")
    resource = OAuth2Session("api", setting["secret"], token_endpoint_auth_method="client_secret_basic")
    active = lambda: resource.introspect_token(f"{issuer}/oauth/introspect", token["access_token"]).json()["active"]
    before = active()
    session.revoke_token(f"{issuer}/oauth/revoke", token["access_token"])
    return [token["scope"], before, active()]


def authlib_secret():
    session = OAuth2Session("example-service", setting["secret"], token_endpoint_auth_method="client_secret_post")
    return session.fetch_token(endpoint, grant_type="client_credentials")["token_type"]


def requests_oauthlib():
    session = OauthlibSession(client=BackendApplicationClient(client_id="example-service", scope=["invoices:read"]))
    token = session.fetch_token(endpoint, client_id="example-service", client_secret=setting["secret"])
    return [" ".join(token["scope"]), token["expires_in"] > 0]


print(json.dumps({
    "authlib": authlib(),
    "authlib_secret": authlib_secret(),
    "requests_oauthlib": requests_oauthlib(),
}))

"""Runs Authlib and requests-oauthlib against an issuer. Prints what they got, as JSON."""

import json
import sys

import requests
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata, get_well_known_url
from joserfc.jwk import ECKey
from oauthlib.oauth2 import BackendApplicationClient
from requests.auth import HTTPBasicAuth
from requests_oauthlib import OAuth2Session as OauthlibSession

setting = json.loads(sys.argv[1])
issuer = setting["issuer"]
endpoint = f"{issuer}/oauth/token"


def authlib():
    # Authlib takes a JWK as an RSA key, unless it is given as a key of its own.
    # Discovery (RFC 8414), as Authlib reads it.
    metadata = AuthorizationServerMetadata(requests.get(get_well_known_url(issuer, external=True)).json())
    metadata.validate_issuer(), metadata.validate_token_endpoint(), metadata.validate_jwks_uri()
    session = OAuth2Session(
        "signs-itself", ECKey.import_key(setting["key"]), scope="invoices:read", token_endpoint_auth_method="private_key_jwt",
        revocation_endpoint_auth_method="private_key_jwt",
    )
    # Authlib names the token endpoint as the audience unless it is told the issuer.
    session.register_client_auth_method(
        PrivateKeyJWT(issuer, headers={"kid": setting["key"]["kid"]}, alg=setting["key"]["alg"])
    )
    token = session.fetch_token(metadata["token_endpoint"], grant_type="client_credentials")
    resource = OAuth2Session("api", setting["secret"], token_endpoint_auth_method="client_secret_basic")
    active = lambda: resource.introspect_token(metadata["introspection_endpoint"], token["access_token"]).json()["active"]
    before = active()
    session.revoke_token(metadata["revocation_endpoint"], token["access_token"])
    return [token["scope"], before, active()]


def authlib_secret():
    session = OAuth2Session("example-service", setting["secret"], token_endpoint_auth_method="client_secret_post")
    return session.fetch_token(endpoint, grant_type="client_credentials")["token_type"]


def authlib_exchange():
    session = OAuth2Session("relay-1", setting["secret"], token_endpoint_auth_method="client_secret_basic")
    token = session.fetch_token(
        endpoint, grant_type="urn:ietf:params:oauth:grant-type:token-exchange", subject_token=setting["feed"],
        subject_token_type="urn:ietf:params:oauth:token-type:access_token", scope="feed:read",
    )
    return [token["scope"], token["issued_token_type"]]


def requests_oauthlib():
    session = OauthlibSession(client=BackendApplicationClient(client_id="example-service", scope=["invoices:read"]))
    token = session.fetch_token(endpoint, client_id="example-service", client_secret=setting["secret"])
    resource = HTTPBasicAuth("api", setting["secret"])
    asked = {"token": token["access_token"]}
    active = lambda: requests.post(f"{issuer}/oauth/introspect", asked, auth=resource).json()["active"]
    before = active()
    # As the library prepares it (RFC 7009).
    url, headers, body = session._client.prepare_token_revocation_request(
        f"{issuer}/oauth/revoke", token["access_token"]
    )
    requests.post(url, body, headers=headers, auth=HTTPBasicAuth("example-service", setting["secret"])).raise_for_status()
    return [" ".join(token["scope"]), token["expires_in"] > 0, before, active()]


print(json.dumps({
    "authlib": authlib(),
    "authlib_secret": authlib_secret(),
    "authlib_exchange": authlib_exchange(),
    "requests_oauthlib": requests_oauthlib(),
}))

"""Sign-in (login.microsoftonline.com): tokens for an application or by device code, and who may call what with them."""

import base64
import hmac
import json
import time
from urllib.parse import parse_qs

import jwt
from starlette.responses import JSONResponse, Response

from phi_runner.azureml.emulator.answers import ARM_HOST, error
from phi_runner.azureml.emulator.cloud import OBJECT_ID, TENANT, Body, Call, Cloud
from phi_runner.azureml.emulator.settings import CLIENT_ID, SIGN_IN

LOGIN_HOST = "login.microsoftonline.com"
STORAGE_AUDIENCE = "https://storage.azure.com"
_LIFE_S = 3599
_BASE = f"https://{LOGIN_HOST}/{TENANT}"
_AUDIENCES = {
    "https://management.azure.com", "https://management.core.windows.net", "https://ml.azure.com",
}  # fmt: skip
_METADATA: Body = {
    "token_endpoint": f"{_BASE}/oauth2/v2.0/token",
    "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"],
    "jwks_uri": f"{_BASE}/discovery/v2.0/keys",
    "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
    "issuer": f"{_BASE}/v2.0",
    "authorization_endpoint": f"{_BASE}/oauth2/v2.0/authorize",
    "device_authorization_endpoint": f"{_BASE}/oauth2/v2.0/devicecode",
    "tenant_region_scope": None,
    "cloud_instance_name": "microsoftonline.com",
}


def handle(cloud: Cloud, call: Call) -> Response | None:
    """Answer the sign-in host."""
    if call.host != LOGIN_HOST:
        return None
    if call.low == "/common/discovery/instance":
        found = f"{_BASE}/v2.0/.well-known/openid-configuration"
        return JSONResponse({"tenant_discovery_endpoint": found, "api-version": "1.1", "metadata": []})
    tenant, _, rest = call.low.lstrip("/").partition("/")
    if tenant not in (TENANT, "organizations", "common"):
        return _refused(400, "invalid_tenant", f"AADSTS90002: Tenant '{tenant}' not found. Check to make sure you have "
                        "the correct tenant ID and are signing into the correct cloud.")  # fmt: skip
    match rest:
        case "v2.0/.well-known/openid-configuration":
            return JSONResponse(_METADATA)
        case "oauth2/v2.0/devicecode":
            return _device_code(cloud)
        case "oauth2/v2.0/token":
            return _token(cloud, {name: values[0] for name, values in parse_qs(call.raw.decode("utf-8")).items()})
        case _:
            return error(404, "NotFound", f"{call.path} is not part of the sign-in")


def challenge(cloud: Cloud, call: Call) -> Response | None:
    """Return why a call to the control plane is refused, None when its token is good."""
    problem = token_problem(cloud, call.headers.get("authorization", ""), audiences=_AUDIENCES)
    if not problem:
        return None
    code, message = problem
    facts = f'Bearer authorization_uri="https://{LOGIN_HOST}/{TENANT}", error="invalid_token"'
    headers = {"WWW-Authenticate": f'{facts}, error_description="{message}"'}
    if call.host == ARM_HOST:
        return JSONResponse({"error": {"code": code, "message": message}}, 401, headers=headers)
    return error(401, code, message, headers=headers)


def token_problem(cloud: Cloud, authorization: str, *, audiences: set[str]) -> tuple[str, str] | None:
    """Return the code and message of what is wrong with a bearer token, None when nothing is."""
    kind, _, token = authorization.partition(" ")
    if kind.lower() != "bearer" or not token:
        return "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing."
    try:
        found = jwt.decode(token.strip(), _signing_key(cloud), ["HS256"], options={"verify_aud": False})
    except jwt.ExpiredSignatureError:
        return _EXPIRED
    except jwt.InvalidTokenError:
        return "InvalidAuthenticationToken", "The access token is invalid."
    if found["generation"] < cloud.private("/tokens").get("generation", 0):
        return _EXPIRED
    if str(found["aud"]).rstrip("/") not in audiences:
        return ("InvalidAuthenticationTokenAudience", "The access token has been obtained for wrong audience or "
                f"resource '{found['aud']}'.")  # fmt: skip
    return None


_EXPIRED = ("ExpiredAuthenticationToken", "The access token expiry UTC time is earlier than current UTC time.")


def token(cloud: Cloud, audience: str) -> str:
    """Return a new access token for an audience; already expired after the admin's `expire {"always": true}`."""
    state, issued = cloud.private("/tokens"), int(time.time())
    until = issued - 10 if state.get("always") else issued + _LIFE_S
    claims = {
        "aud": audience, "iss": f"https://sts.windows.net/{TENANT}/", "tid": TENANT, "oid": OBJECT_ID, "sub": OBJECT_ID,
        "appid": CLIENT_ID, "iat": issued, "nbf": issued - 60, "exp": until, "ver": "1.0",
        "generation": state.get("generation", 0),
    }  # fmt: skip
    return jwt.encode(claims, _signing_key(cloud), "HS256")


def _signing_key(cloud: Cloud) -> str:
    return cloud.secret("token-signing")


def _token(cloud: Cloud, form: dict[str, str]) -> Response:
    scope = next((item for item in form.get("scope", "").split() if item.startswith("http")), "")
    audience = scope.removesuffix("/.default") or "https://management.azure.com"
    answer: Body = {"token_type": "Bearer", "expires_in": _LIFE_S, "ext_expires_in": _LIFE_S}
    match form.get("grant_type"):
        case "client_credentials":
            if form.get("client_id") != CLIENT_ID:
                return _refused(400, "unauthorized_client", "AADSTS700016: Application with identifier "
                                f"'{form.get('client_id')}' was not found in the directory 'rehearsal'.")  # fmt: skip
            if not _same(form.get("client_secret", ""), cloud.secret(SIGN_IN)):
                return _refused(401, "invalid_client", "AADSTS7000215: Invalid client secret provided. Ensure the "
                                "secret being sent in the request is the client secret value.")  # fmt: skip
        case "urn:ietf:params:oauth:grant-type:device_code" | "device_code":
            if not _same(form.get("device_code", ""), cloud.secret("device-code")):
                return _refused(400, "expired_token", "AADSTS70020: The provided value for 'device_code' is not valid.")
            answer |= _person(cloud, client_id=form.get("client_id", ""))
        case "refresh_token":
            if not _same(form.get("refresh_token", ""), cloud.secret("refresh-token")):
                return _refused(400, "invalid_grant", "AADSTS9002313: Invalid refresh token.")
            answer |= _person(cloud, client_id=form.get("client_id", ""))
        case kind:
            return _refused(400, "unsupported_grant_type", f"AADSTS70003: the grant type '{kind}' is not supported.")
    return JSONResponse(answer | {"access_token": token(cloud, audience), "scope": scope})


def _device_code(cloud: Cloud) -> Response:
    """Hand out a code that is granted at once: there is nobody here who would have to type it."""
    page = "https://microsoft.com/devicelogin"
    message = f"To sign in, use a web browser to open the page {page} and enter the code REHEARSAL to authenticate."
    return JSONResponse({
        "user_code": "REHEARSAL", "device_code": cloud.secret("device-code"), "verification_uri": page,
        "expires_in": 900, "interval": 1, "message": message,
    })  # fmt: skip


def _person(cloud: Cloud, *, client_id: str) -> Body:
    """Return what a person's sign-in carries beside the access token."""
    issued = int(time.time())
    claims = {
        "aud": client_id, "iss": f"{_BASE}/v2.0", "tid": TENANT, "oid": OBJECT_ID, "sub": OBJECT_ID, "iat": issued,
        "nbf": issued, "exp": issued + _LIFE_S, "preferred_username": "rehearsal@phi-runner.invalid", "ver": "2.0",
    }  # fmt: skip
    client_info = json.dumps({"uid": OBJECT_ID, "utid": TENANT}).encode()
    return {
        "id_token": jwt.encode(claims, _signing_key(cloud), "HS256"),
        "client_info": base64.urlsafe_b64encode(client_info).decode().rstrip("="),
        "refresh_token": cloud.secret("refresh-token"),
    }


def _refused(status: int, kind: str, description: str) -> Response:
    number = "".join(filter(str.isdigit, description.split(":")[0]))
    return JSONResponse({"error": kind, "error_description": description, "error_codes": [int(number)]}, status)


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(), wanted.encode())

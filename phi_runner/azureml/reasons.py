"""Why Azure refuses, as a table: how a failure is recognised, and what the user is told to do about it.

The patterns come from answers that the service really gives; the first row that matches speaks.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One row; what is left empty does not matter, named groups of `pattern` may be used in `says`."""

    says: str
    pattern: str = ""
    """Searched in everything that the failure says, whatever the case."""
    statuses: tuple[int, ...] = ()
    kinds: tuple[str, ...] = ()
    """Names of exception classes."""

    def matches(self, *, status: int, code: str, kind: str, text: str) -> dict[str, str] | None:
        """Return the pattern's named groups when this row speaks for the failure, else None."""
        if self.statuses and status not in self.statuses:
            return None
        if self.kinds and kind not in self.kinds:
            return None
        found = re.search(self.pattern, f"{code} {text}", re.IGNORECASE | re.DOTALL)
        return {name: value or "" for name, value in found.groupdict().items()} if found else None


_SIGN_IN = "run `az login`, or type azure.credential=device_code"
_QUOTA = (
    "ask for more in the portal (Azure Machine Learning > Quota) or with azure.request_quota=true, or choose a smaller "
    "size, fewer nodes or another azure.region"
)
_SAME = "the same command goes on from here"

SIGN_IN = (
    Reason(
        pattern=r"Azure CLI not found",
        says="the Azure CLI is not installed: install it from https://aka.ms/azure-cli and run `az login`, or type "
        "azure.credential=device_code",
    ),
    Reason(
        pattern=r"AADSTS50076|AADSTS50079|claims challenge|interaction_required",
        says="your directory asks for another sign-in step: run `az login` again",
    ),
    Reason(
        pattern=r"AADSTS700082|AADSTS70043|AADSTS50173|ExpiredAuthenticationToken|token.{0,40}expired|expired.{0,20}token",
        says="the sign-in has expired: run `az login` again; " + _SAME,
    ),
    Reason(
        pattern=r"InvalidAuthenticationTokenTenant|wrong issuer|tenant.{0,60}(does not|not) (match|found)|AADSTS90002",
        says="you are signed in to another directory than the subscription's: run `az login --tenant TENANT` and type "
        "azure.tenant=TENANT ({message})",
    ),
    Reason(
        pattern=r"SubscriptionNotFound|InvalidSubscriptionId|subscription .{0,80}(could not be|was not) found|"
        r"subscription identifier .{0,60}(malformed|invalid)",
        says="this account has no such subscription: `az account list -o table` shows which it has, then type "
        "azure.subscription=ID",
    ),
    Reason(
        pattern=r"ReadOnlyDisabledSubscription|SubscriptionNotRegistered|DisabledSubscription",
        says="the subscription is disabled: enable it in the portal ({message})",
    ),
    Reason(pattern=r"az login|not signed in|NOT_LOGGED_IN", says="you are not signed in: " + _SIGN_IN),
    Reason(kinds=("CredentialUnavailableError",), says="no sign-in was found ({message}): " + _SIGN_IN),
    Reason(
        kinds=("ClientAuthenticationError",), statuses=(0, 400, 401), says="Azure refused the sign-in ({message}): "
        "run `az login` again",
    ),
    Reason(statuses=(401,), says="Azure refused the sign-in ({message}): run `az login` again"),
)  # fmt: skip

QUOTA = (
    Reason(
        pattern=r"additional CPU quota requested is (?P<need>\d+).*?currently using (?P<used>\d+)"
        r".*?maximum quota is (?P<limit>\d+)",
        says="not enough cores for the deployment: {need} more are needed, {used} of {limit} are in use: " + _QUOTA,
    ),
    Reason(
        pattern=r"JobNodeCountExceedsCoreQuota|ClusterCoreQuotaReached|ClusterMinNodesExceedCoreQuota",
        says="the job needs more cores than the subscription has ({message}): " + _QUOTA,
    ),
    Reason(
        pattern=r"(vCPU|core|CPU) quota|OutOfQuota|QuotaExceeded|quota.{0,40}(exceed|reached|insufficient)",
        says="not enough cores: {message}: " + _QUOTA,
    ),
    Reason(
        pattern=r"OutOfCapacity|AllocationFailed|SkuNotAvailable|ZonalAllocationFailed",
        says="the region has no machine of this size free now ({message}): try again later, or choose another size or "
        "azure.region",
    ),
)

NAMES = (
    Reason(
        pattern=r"already an endpoint with this name",
        says="the endpoint's name is taken in this region: type deploy.name=ANOTHER",
    ),
    Reason(
        pattern=r"StorageAccountAlreadyTaken|storage account named .{0,40}already taken",
        says="the storage account's name is taken: type azure.storage_account=ANOTHER",
    ),
    Reason(
        pattern=r"VaultAlreadyExists|vault name .{0,40}already in use",
        says="the key vault's name is taken, perhaps by a deleted one: type azure.key_vault=ANOTHER",
    ),
    Reason(
        pattern=r"registry.{0,60}already in use|AlreadyInUse",
        says="the container registry's name is taken: type azure.container_registry=ANOTHER",
    ),
    Reason(
        pattern=r"soft.?deleted",
        says="a deleted workspace still holds this name: purge it in the portal (Azure Machine Learning > recently "
        "deleted), or type azure.workspace=ANOTHER",
    ),
    Reason(
        pattern=r"already exists in location '?(?P<there>\w+)",
        says="it exists in another region: type azure.region={there}, or another name ({message})",
    ),
    Reason(
        pattern=r"InvalidResourceGroupLocation|InvalidResourceLocation",
        says="it exists in another region: type that one as azure.region, or another name ({message})",
    ),
    Reason(
        statuses=(404,), pattern=r"InferencingClientCallFailed.*Not Found",
        says="the name is still being given back after a removal: wait some minutes; " + _SAME,
    ),
)  # fmt: skip

PARTS = (
    Reason(
        pattern=r"Unknown compute target '?(?P<name>[\w-]+)",
        says="the workspace has no cluster {name}: add stages=[infra,...] to make it, or type compute.cluster=NAME",
    ),
    Reason(
        pattern=r"LocationNotAvailableForResourceType|NoRegisteredProviderFound|"
        r"location .{0,60}is not (available|accept)",
        says="the region does not offer this: type azure.region=ANOTHER ({message})",
    ),
    Reason(
        pattern=r"MissingSubscriptionRegistration.*?namespace '(?P<namespace>[\w.]+)'",
        says="the subscription has never used {namespace}: run `az provider register --namespace {namespace} --wait`",
    ),
    Reason(
        pattern=r"ResourceGroupNotFound|resource group '(?P<name>[^']+)' could not be found",
        says="the resource group is missing: the stage infra makes it ({message})",
    ),
    Reason(
        pattern=r"ImageBuildFailure|image build.{0,40}fail|failed to build.{0,40}image",
        says="the environment's image could not be built ({message}): the build log is in the studio under "
        "Environments; check the image and the pins",
    ),
    Reason(
        pattern=r"ModuleNotFoundError.{0,40}azureml\.ai|No module named 'azureml\.ai",
        says="the no-code image needs azureml-ai-monitoring in the model's requirements: register the model again with "
        "force=[register]",
    ),
    Reason(
        pattern=r"(liveness|readiness) probe|probe.{0,30}fail",
        says="the deployment did not answer its probe in time ({message}): see its log, or raise "
        "deploy.probe_initial_delay_s",
    ),
    Reason(
        pattern=r"User container has crashed|container.{0,40}(crashed|terminated|exited)|ResourceNotReady",
        says="the deployment's container did not stay up ({message}): the log's last lines say why",
    ),
    Reason(
        pattern=r"No valid deployments to route to",
        says="no deployment of the endpoint has traffic: run the stage deploy again",
    ),
)

ACCESS = (
    Reason(
        pattern=r"RequestDisallowedByPolicy|disallowed by policy",
        says="a policy of your organisation forbids it: {message}",
    ),
    Reason(
        pattern=r"(perform action '|action \W?)(?P<action>Microsoft\.Authorization/roleAssignments/\w+)",
        says="this account may not assign roles ({action}): ask for the role Owner or User Access Administrator on the "
        "resource group",
    ),
    Reason(
        pattern=r"perform action '(?P<action>[\w./]+)' over scope '(?P<where>[^']+)'",
        says="this account may not do {action} on {where}: ask for the role Contributor there",
    ),
    Reason(statuses=(403,), says="this account may not do that ({message}): ask for the role Contributor on the "
           "resource group"),
)  # fmt: skip

NETWORK = (
    Reason(
        pattern=r"CERTIFICATE_VERIFY_FAILED|certificate verify failed",
        says="the server's certificate is not trusted: behind a company proxy export REQUESTS_CA_BUNDLE=FILE",
    ),
    Reason(
        kinds=("ServiceRequestError", "ServiceRequestTimeoutError", "ConnectionError", "ProxyError", "SSLError",
               "ConnectTimeout"),
        pattern=r"(host='(?P<host>[\w.-]+)')?",
        says="Azure cannot be reached ({message}): check the network and HTTPS_PROXY; " + _SAME,
    ),
    Reason(
        kinds=("ServiceResponseError", "ServiceResponseTimeoutError", "IncompleteReadError", "ReadTimeout",
               "ChunkedEncodingError"),
        says="the connection broke ({message}); " + _SAME,
    ),
    Reason(statuses=(429,), says="Azure asks to slow down ({message}): wait a minute; " + _SAME),
    Reason(
        statuses=(500, 502, 503, 504), says="Azure itself failed ({message}): wait a minute, see "
        "https://status.azure.com; " + _SAME,
    ),
)  # fmt: skip

REASONS: tuple[Reason, ...] = (*QUOTA, *NAMES, *PARTS, *SIGN_IN, *ACCESS, *NETWORK)

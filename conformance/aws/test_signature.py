"""SigV4 as AWS clients make it, and as nobody should: wrong secret, old date, altered body, another region, missing parts."""

import datetime
import json
import urllib.error
import urllib.request

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from server import ADMIN_KEY, REGION

TARGET = "AmazonEC2ContainerServiceV20141113.ListClusters"


class At(SigV4Auth):
    """Signs as if it were another time."""

    def __init__(self, credentials, service, region, moment):
        super().__init__(credentials, service, region)
        self.moment = moment

    def add_auth(self, request):
        import botocore.auth

        # botocore takes the time from here in all its versions.
        original = botocore.auth.get_current_datetime
        botocore.auth.get_current_datetime = lambda: self.moment
        try:
            super().add_auth(request)
        finally:
            botocore.auth.get_current_datetime = original


def signed(url, service, target, body, key, region=REGION, shift=datetime.timedelta(0)):
    """The headers of a signed request."""
    headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": target}
    request = AWSRequest("POST", url + "/", headers=headers, data=body)
    moment = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None) + shift
    At(Credentials(*key), service, region, moment).add_auth(request)
    return dict(request.headers.items())


def post(url, headers, body):
    request = urllib.request.Request(url + "/", data=body, headers=headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def outcome(server, body=b"{}", sent=None, change=None, service="ecs", target=TARGET, key=ADMIN_KEY, **options):
    headers = signed(server.url, service, target, body, key, **options)
    if change:
        change(headers)
    status, answer = post(server.url, headers, body if sent is None else sent)
    return status, answer.get("__type", "").rsplit("#", 1)[-1]


def test_a_good_signature_is_taken(server):
    assert outcome(server) == (200, "")


def test_any_region_is_taken_and_arns_carry_ours(server):
    assert outcome(server, region="eu-central-9") == (200, "")
    arns = server.client("ecs", region="ap-south-1").list_clusters()["clusterArns"]
    assert all(f":{REGION}:" in arn for arn in arns)


def test_a_wrong_secret_is_refused(server):
    assert outcome(server, key=(ADMIN_KEY[0], "wrong")) == (400, "InvalidSignatureException")


def test_an_unknown_key_is_refused(server):
    assert outcome(server, key=("AKIANOBODYNOBODYNOBO", ADMIN_KEY[1])) == (400, "UnrecognizedClientException")


@pytest.mark.parametrize("minutes", [-16, -60 * 24 * 365, 16])
def test_an_old_or_future_date_is_refused(server, minutes):
    status, code = outcome(server, shift=datetime.timedelta(minutes=minutes))
    assert status == 400 and code in ("InvalidSignatureException", "SignatureDoesNotMatch", "RequestExpired"), code


@pytest.mark.parametrize("minutes", [-4, 4])
def test_a_clock_that_is_a_little_wrong_is_taken(server, minutes):
    assert outcome(server, shift=datetime.timedelta(minutes=minutes)) == (200, "")


def test_an_altered_body_is_refused(server):
    assert outcome(server, body=b'{"maxResults": 1}', sent=b'{"maxResults": 9}') == (400, "InvalidSignatureException")


def test_a_region_altered_after_signing_is_refused(server):
    def change(headers):
        headers["Authorization"] = headers["Authorization"].replace(REGION, "eu-west-1")

    assert outcome(server, change=change) == (400, "InvalidSignatureException")


def test_a_signature_for_another_service_is_refused(server):
    assert outcome(server, service="ecr")[0] == 400
    assert outcome(server, service="s3")[0] == 400


def test_a_target_altered_after_signing_is_refused(server):
    def change(headers):
        headers["X-Amz-Target"] = TARGET.replace("ListClusters", "DeleteCluster")

    assert outcome(server, change=change) == (400, "InvalidSignatureException")


def test_a_request_without_a_signature_is_refused(server):
    def change(headers):
        del headers["Authorization"]

    assert outcome(server, change=change) == (400, "MissingAuthenticationTokenException")


@pytest.mark.parametrize(
    "authorization",
    ["", "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 Credential=a", "AWS4-HMAC-SHA256 Credential=/////, SignedHeaders=, Signature=", "Digest x", "x" * 9000],
    ids=["empty", "scheme alone", "no signature", "empty parts", "another scheme", "very long"],
)
def test_garbage_in_place_of_a_signature_is_refused(server, authorization):
    def change(headers):
        headers["Authorization"] = authorization

    status, code = outcome(server, change=change)
    assert status == 400 and code.endswith("Exception"), (status, code)


def test_the_host_has_to_be_signed(server):
    def change(headers):
        headers["Authorization"] = headers["Authorization"].replace("host;", "")

    assert outcome(server, change=change)[0] == 400


def test_a_token_works_in_place_of_a_signature(server):
    secret = server.api("POST", "/api/v1/tokens", {"label": "aws"}, expect=201)["secret"]
    headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": TARGET, "Authorization": f"Bearer {secret}"}
    status, answer = post(server.url, headers, b"{}")
    assert status == 200 and answer["clusterArns"], answer
    status, answer = post(server.url, headers | {"Authorization": f"Bearer {secret}x"}, b"{}")
    assert status == 400 and answer["__type"] == "UnrecognizedClientException", answer


def test_boto3_raises_the_class_of_the_error(server):
    ecs = server.client("ecs")
    with pytest.raises(ecs.exceptions.ClusterNotFoundException):
        ecs.list_services(cluster="nowhere")
    with pytest.raises(ClientError, match="InvalidSignatureException"):
        server.client("ecs", (ADMIN_KEY[0], "wrong")).list_clusters()

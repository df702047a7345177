//! AWS's published examples, and what must not pass. The examples are of 2015-08-30; the clock of the tests stands there.

use super::*;
use http::{HeaderName, HeaderValue, Uri};

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

fn now() -> Timestamp {
    Timestamp::from_secs(1_440_938_160) // 2015-08-30T12:36:00Z
}

struct Example {
    method: &'static str,
    uri: Uri,
    headers: HeaderMap,
    body: &'static [u8],
}

impl Example {
    fn new(method: &'static str, uri: &'static str) -> Self {
        let example = Self { method, uri: Uri::from_static(uri), headers: HeaderMap::new(), body: b"" };
        example.header("host", "example.amazonaws.com").header("x-amz-date", "20150830T123600Z")
    }

    fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
        self
    }

    fn body(self, body: &'static [u8]) -> Self {
        Self { body, ..self }
    }

    fn request(&self) -> SignedRequest<'_> {
        SignedRequest { method: self.method, uri: &self.uri, headers: &self.headers, body: self.body }
    }

    fn verify(&self, service: &str, signed: &str, signature: &str) -> Result<(), AwsAuthError> {
        let header = format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/{service}/aws4_request, SignedHeaders={signed}, Signature={signature}"
        );
        Authorization::parse(&header)?.verify(self.request(), SECRET, service, now())
    }

    /// Signs as a client would, for the cases that AWS publishes no example of.
    fn sign(&self, authorization: &str, at: &str) -> Authorization {
        let mut parsed = Authorization::parse(authorization).unwrap();
        let canonical = canonical::request(self.request(), &parsed.signed_headers).unwrap();
        let to_sign = format!("{ALGORITHM}\n{at}\n{}\n{}", parsed.scope(), sha256_hex(canonical.as_bytes()));
        parsed.signature = hex::encode(hmac(&parsed.signing_key(SECRET), to_sign.as_bytes()));
        parsed
    }
}

#[test]
fn the_published_examples_verify() {
    let get = || Example::new("GET", "/");
    let post = || Example::new("POST", "/");
    let iam = Example::new("GET", "/?Action=ListUsers&Version=2010-05-08");
    let mut iam = iam.header("content-type", "application/x-www-form-urlencoded; charset=utf-8");
    iam.headers.insert("host", HeaderValue::from_static("iam.amazonaws.com"));
    let cases = [
        (get(), "service", "host;x-amz-date", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        (post(), "service", "host;x-amz-date", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        (
            Example::new("GET", "/?Param2=value2&Param1=value1"),
            "service",
            "host;x-amz-date",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        (
            post().header("content-type", "application/x-www-form-urlencoded").body(b"Param1=value1"),
            "service",
            "content-type;host;x-amz-date",
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        ),
        (
            get().header("my-header1", " value1").header("my-header2", " \"a   b   c\""),
            "service",
            "host;my-header1;my-header2;x-amz-date",
            "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
        ),
        (
            get().header("my-header1", "value2").header("my-header1", "value2").header("my-header1", "value1"),
            "service",
            "host;my-header1;x-amz-date",
            "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
        ),
        (iam, "iam", "content-type;host;x-amz-date", "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"),
    ];
    for (at, (example, service, signed, signature)) in cases.into_iter().enumerate() {
        assert_eq!(example.verify(service, signed, signature), Ok(()), "example {at}");
    }
}

const HEADER: &str = "AWS4-HMAC-SHA256 Credential=AKID/20150830/eu-anything-9/ecs/aws4_request, \
                      SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature=0";

fn create_cluster() -> Example {
    Example::new("POST", "/")
        .header("content-type", "application/x-amz-json-1.1")
        .header("x-amz-target", "AmazonEC2ContainerServiceV20141113.CreateCluster")
        .body(b"{}")
}

fn code(result: Result<(), AwsAuthError>) -> &'static str {
    result.err().map_or("ok", |error| error.code())
}

#[test]
fn any_region_passes_and_any_alteration_does_not() {
    let example = create_cluster();
    let signed = example.sign(HEADER, "20150830T123600Z");
    assert_eq!(signed.verify(example.request(), SECRET, "ecs", now()), Ok(()));
    let verify = |example: &Example| code(signed.verify(example.request(), SECRET, "ecs", now()));

    assert_eq!(verify(&create_cluster().body(b"{ }")), "InvalidSignatureException");
    assert_eq!(verify(&Example { method: "GET", ..create_cluster() }), "InvalidSignatureException");
    assert_eq!(verify(&Example { uri: Uri::from_static("/?x=1"), ..create_cluster() }), "InvalidSignatureException");
    let mut other_target = create_cluster();
    other_target.headers.insert("x-amz-target", HeaderValue::from_static("AmazonEC2ContainerServiceV20141113.DeleteCluster"));
    assert_eq!(verify(&other_target), "InvalidSignatureException");
    assert_eq!(code(signed.verify(example.request(), "another secret", "ecs", now())), "InvalidSignatureException");
    assert_eq!(code(signed.verify(example.request(), SECRET, "ecr", now())), "InvalidSignatureException");
}

#[test]
fn a_named_body_hash_must_be_that_of_the_body() {
    let header = HEADER.replace("x-amz-date;", "x-amz-content-sha256;x-amz-date;");
    for (hash, expected) in [(sha256_hex(b"{}"), "ok"), (sha256_hex(b""), "InvalidSignatureException")] {
        let example = create_cluster().header("x-amz-content-sha256", &hash);
        let signed = example.sign(&header, "20150830T123600Z");
        assert_eq!(code(signed.verify(example.request(), SECRET, "ecs", now())), expected, "{hash}");
    }
    let unsigned = create_cluster().header("x-amz-content-sha256", "UNSIGNED-PAYLOAD");
    let signed = unsigned.sign(&header, "20150830T123600Z");
    assert_eq!(code(signed.verify(unsigned.request(), SECRET, "ecs", now())), "InvalidSignatureException");
}

#[test]
fn clocks_may_be_five_minutes_apart_and_no_more() {
    let example = create_cluster();
    let signed = example.sign(HEADER, "20150830T123600Z");
    for (offset, expected) in [
        (-301, "InvalidSignatureException"),
        (-300, "ok"),
        (300, "ok"),
        (301, "InvalidSignatureException"),
        (86_400, "InvalidSignatureException"),
    ] {
        let at = Timestamp::from_secs(now().as_secs() + offset);
        assert_eq!(code(signed.verify(example.request(), SECRET, "ecs", at)), expected, "{offset}");
    }
    let late = signed.verify(example.request(), SECRET, "ecs", Timestamp::from_secs(now().as_secs() + 600)).unwrap_err();
    assert!(late.to_string().starts_with("Signature expired: 20150830T123600Z is now earlier than 20150830T124100Z"), "{late}");
}

#[test]
fn headers_that_steer_the_request_must_be_signed() {
    for missing in ["host;", ";x-amz-date", ";x-amz-target"] {
        let header = HEADER.replace(missing, "");
        let example = create_cluster();
        let signed = example.sign(&header, "20150830T123600Z");
        assert_eq!(code(signed.verify(example.request(), SECRET, "ecs", now())), "InvalidSignatureException", "{missing}");
    }
    // A signed header that did not arrive.
    let header = HEADER.replace("host;", "host;x-other;");
    let parsed = Authorization::parse(&header).unwrap();
    assert_eq!(code(parsed.verify(create_cluster().request(), SECRET, "ecs", now())), "InvalidSignatureException");
}

#[test]
fn the_date_header_stands_in_for_the_amz_date() {
    let mut example = create_cluster().header("date", "Sun, 30 Aug 2015 12:36:00 GMT");
    example.headers.remove("x-amz-date");
    let signed = example.sign(&HEADER.replace("x-amz-date", "date"), "20150830T123600Z");
    assert_eq!(signed.verify(example.request(), SECRET, "ecs", now()), Ok(()));
    example.headers.remove("date");
    assert_eq!(code(signed.verify(example.request(), SECRET, "ecs", now())), "IncompleteSignatureException");
}

#[test]
fn broken_headers_are_named_as_such() {
    for bad in [
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA512 Credential=a/20150830/r/ecs/aws4_request, SignedHeaders=host, Signature=0",
        "AWS4-HMAC-SHA256 Credential=a/20150830/r/ecs/aws4_request, Signature=0",
        "AWS4-HMAC-SHA256 Credential=a/20150830/r/ecs, SignedHeaders=host, Signature=0",
        "AWS4-HMAC-SHA256 Credential=a/20150830/r/ecs/aws5_request, SignedHeaders=host, Signature=0",
    ] {
        assert_eq!(Authorization::parse(bad).unwrap_err().code(), "IncompleteSignatureException", "{bad}");
    }
    // No spaces after commas, as some clients write it.
    let tight = "AWS4-HMAC-SHA256 Credential=a/20150830/r/ecs/aws4_request,SignedHeaders=host,Signature=0";
    assert_eq!(Authorization::parse(tight).unwrap().access_key_id, "a");
    let wrong_day = HEADER.replace("20150830", "20150831");
    let example = create_cluster();
    let signed = example.sign(&wrong_day, "20150830T123600Z");
    assert_eq!(code(signed.verify(example.request(), SECRET, "ecs", now())), "InvalidSignatureException");
}

/// Asked for before the signature is: nobody has to know a secret to send this.
#[test]
fn dates_at_the_ends_of_the_calendar_are_refused_like_others() {
    let header = HEADER.replace("20150830", "99991231").replace("x-amz-date;", "date;");
    for date in ["Fri, 31 Dec 9999 23:59:59 -0100", "Fri, 31 Dec 9999 23:59:59 +0000", "Sat, 1 Jan 0000 00:00:00 +0100"] {
        let mut example = create_cluster().header("date", date);
        example.headers.remove("x-amz-date");
        let refused = Authorization::parse(&header).unwrap().verify(example.request(), SECRET, "ecs", now());
        assert!(matches!(code(refused.clone()), "InvalidSignatureException" | "IncompleteSignatureException"), "{date}: {refused:?}");
    }
    let last = Timestamp::from_secs(253_402_300_799); // 9999-12-31T23:59:59Z
    let example = create_cluster().header("date", "Fri, 31 Dec 9999 23:59:59 +0000");
    assert!(Authorization::parse(&header).unwrap().verify(example.request(), SECRET, "ecs", last).is_err());
}

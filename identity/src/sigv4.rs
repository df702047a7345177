//! AWS Signature Version 4: parses the `Authorization` header and checks the signature. Pure: time and secret are arguments.
//!
//! Canonicalises whatever `SignedHeaders` names, since SDKs differ. Any region is accepted; the service is not. The hash of the body
//! that arrived is what is signed, whether or not the client sent `x-amz-content-sha256`. Presigned URLs and chunked signing do not
//! exist on the ECS and ECR APIs and are not understood here.

mod canonical;

use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use model::Timestamp;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use time::{OffsetDateTime, PrimitiveDateTime};

/// How far a client's clock may be off.
pub const SKEW_MAX: time::Duration = time::Duration::minutes(5);
/// Name of the only algorithm; what the header begins with.
pub(crate) const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// Most headers a signature may cover.
const SIGNED_HEADERS_MAX: usize = 64;

/// Why a signature was not accepted, by the codes and in the words of AWS's JSON services.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AwsAuthError {
    #[error("Missing Authentication Token")]
    Missing,
    #[error("The security token included in the request is invalid.")]
    Unrecognized,
    #[error("The security token included in the request is expired")]
    Expired,
    #[error("{0}")]
    Incomplete(String),
    #[error("{0}")]
    InvalidSignature(String),
    #[error("{0}")]
    Throttled(String),
    /// The text is for the log; clients get [`AwsAuthError::message`].
    #[error("{0}")]
    Unavailable(String),
}

impl AwsAuthError {
    /// Value of `__type`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Missing => "MissingAuthenticationTokenException",
            Self::Unrecognized => "UnrecognizedClientException",
            Self::Expired => "ExpiredTokenException",
            Self::Incomplete(_) => "IncompleteSignatureException",
            Self::InvalidSignature(_) => "InvalidSignatureException",
            Self::Throttled(_) => "ThrottlingException",
            Self::Unavailable(_) => "ServerException",
        }
    }

    pub const fn status(&self) -> u16 {
        if matches!(self, Self::Unavailable(_)) { 500 } else { 400 }
    }

    /// What the client may read.
    pub fn message(&self) -> String {
        if matches!(self, Self::Unavailable(_)) {
            "The service cannot authenticate requests at the moment.".into()
        } else {
            self.to_string()
        }
    }
}

/// What is signed, as it arrived.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SignedRequest<'a> {
    pub method: &'a str,
    pub uri: &'a http::Uri,
    pub headers: &'a HeaderMap,
    pub body: &'a [u8],
}

/// The `Authorization` header, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Authorization {
    pub access_key_id: String,
    date: String,
    region: String,
    service: String,
    signed_headers: Vec<String>,
    signature: String,
}

impl Authorization {
    /// `AWS4-HMAC-SHA256 Credential=ID/DATE/REGION/SERVICE/aws4_request, SignedHeaders=a;b, Signature=HEX`
    pub fn parse(header: &str) -> Result<Self, AwsAuthError> {
        let incomplete = |what: &str| AwsAuthError::Incomplete(format!("Authorization header requires '{what}' parameter."));
        let parameters = header
            .strip_prefix(ALGORITHM)
            .ok_or_else(|| AwsAuthError::Incomplete(format!("Unsupported AWS 'algorithm': use {ALGORITHM}.")))?;
        let find = |name: &str| {
            let mut values = parameters.split(',').filter_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
            values.next_back().ok_or_else(|| incomplete(name))
        };
        let (credential, headers, signature) = (find("Credential")?, find("SignedHeaders")?, find("Signature")?);
        // From the right: a key id may not hold `/`, but whatever it holds is not ours to cut.
        let mut parts = credential.rsplitn(5, '/');
        let (Some("aws4_request"), Some(service), Some(region), Some(date), Some(id)) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            let form = "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/aws4_request";
            return Err(AwsAuthError::Incomplete(form.into()));
        };
        let signed_headers: Vec<_> = headers.split(';').map(str::to_ascii_lowercase).collect();
        if signed_headers.len() > SIGNED_HEADERS_MAX {
            return Err(AwsAuthError::Incomplete(format!("at most {SIGNED_HEADERS_MAX} headers may be signed")));
        }
        Ok(Self {
            access_key_id: id.to_owned(),
            date: date.to_owned(),
            region: region.to_owned(),
            service: service.to_owned(),
            signed_headers,
            signature: signature.to_owned(),
        })
    }

    /// Checks the signature, its age and its scope.
    pub fn verify(&self, request: SignedRequest<'_>, secret: &str, service: &str, now: Timestamp) -> Result<(), AwsAuthError> {
        let at = signed_at(request.headers)?;
        self.check_scope(service, at)?;
        check_age(at, now)?;
        self.check_headers(request.headers)?;
        check_body_header(request)?;
        let canonical = canonical::request(request, &self.signed_headers)?;
        let to_sign = format!("{ALGORITHM}\n{}\n{}\n{}", stamp(at), self.scope(), sha256_hex(canonical.as_bytes()));
        let expected = hex::encode(hmac(&self.signing_key(secret), to_sign.as_bytes()));
        if expected.as_bytes().ct_eq(self.signature.as_bytes()).into() { Ok(()) } else { Err(mismatch()) }
    }

    fn scope(&self) -> String {
        format!("{}/{}/{}/aws4_request", self.date, self.region, self.service)
    }

    fn check_scope(&self, service: &str, at: OffsetDateTime) -> Result<(), AwsAuthError> {
        if self.service != service {
            return Err(AwsAuthError::InvalidSignature(format!("Credential should be scoped to correct service: '{service}'.")));
        }
        if !stamp(at).starts_with(&self.date) || self.date.len() != 8 {
            let reason =
                format!("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{}'", stamp(at));
            return Err(AwsAuthError::InvalidSignature(reason));
        }
        Ok(())
    }

    /// A header that steers the request but is not signed could be exchanged on the way.
    fn check_headers(&self, headers: &HeaderMap) -> Result<(), AwsAuthError> {
        let signed = |name: &str| self.signed_headers.iter().any(|signed| signed == name);
        let must = |name: &str| AwsAuthError::InvalidSignature(format!("'{name}' must be a 'SignedHeader' in the AWS Authorization."));
        if !signed("host") && !signed(":authority") {
            return Err(must("host"));
        }
        match headers.keys().map(http::HeaderName::as_str).find(|name| name.starts_with("x-amz-") && !signed(name)) {
            Some(name) => Err(must(name)),
            None if !headers.contains_key("x-amz-date") && !signed("date") => Err(must("date")),
            None => Ok(()),
        }
    }

    fn signing_key(&self, secret: &str) -> [u8; 32] {
        let key = hmac(format!("AWS4{secret}").as_bytes(), self.date.as_bytes());
        let key = hmac(&key, self.region.as_bytes());
        let key = hmac(&key, self.service.as_bytes());
        hmac(&key, b"aws4_request")
    }
}

/// Whatever arrives is refused for some reason: nothing that was not signed with the secret passes.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzzing(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.lines();
    let (authorization, target) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let (Ok(signed), Ok(uri)) = (Authorization::parse(authorization), target.parse::<http::Uri>()) else { return };
    let mut headers = HeaderMap::new();
    for line in lines.by_ref().take_while(|line| !line.is_empty()) {
        let Some((name, value)) = line.split_once(':') else { continue };
        if let (Ok(name), Ok(value)) = (name.parse::<http::HeaderName>(), value.trim().parse::<http::HeaderValue>()) {
            headers.append(name, value);
        }
    }
    let body = lines.collect::<Vec<_>>().join("\n");
    let request = SignedRequest { method: "POST", uri: &uri, headers: &headers, body: body.as_bytes() };
    let canonical = canonical::request(request, &signed.signed_headers);
    assert_eq!(canonical.is_ok(), canonical::request(request, &signed.signed_headers).is_ok());
    if let Ok(canonical) = canonical {
        assert_eq!(canonical.lines().nth(1).map(|path| path.starts_with('/')), Some(true), "{canonical}");
    }
    let now = signed_at(&headers).map_or(Timestamp::from_secs(0), |at| Timestamp::from_secs(at.unix_timestamp()));
    assert!(signed.verify(request, "a secret that nobody has", &signed.service, now).is_err());
}

fn mismatch() -> AwsAuthError {
    AwsAuthError::InvalidSignature(
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and \
         signing method. Consult the service documentation for details."
            .into(),
    )
}

/// A body hash that the client names must be that of the body; other forms (`UNSIGNED-PAYLOAD`, chunks) belong to S3.
fn check_body_header(request: SignedRequest<'_>) -> Result<(), AwsAuthError> {
    match request.headers.get("x-amz-content-sha256") {
        Some(named) if named.as_bytes() != sha256_hex(request.body).as_bytes() => Err(mismatch()),
        _ => Ok(()),
    }
}

/// `x-amz-date`, else `Date`; in UTC.
fn signed_at(headers: &HeaderMap) -> Result<OffsetDateTime, AwsAuthError> {
    let missing = "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.";
    let text = headers.get("x-amz-date").or_else(|| headers.get(http::header::DATE));
    let text = text.and_then(|value| value.to_str().ok()).ok_or_else(|| AwsAuthError::Incomplete(missing.into()))?.trim();
    let format = time::macros::format_description!("[year][month][day]T[hour][minute][second]Z");
    PrimitiveDateTime::parse(text, format)
        .map(PrimitiveDateTime::assume_utc)
        .or_else(|_| OffsetDateTime::parse(text, &time::format_description::well_known::Rfc2822))
        .ok()
        // A zone can lead out of the calendar.
        .and_then(|at| at.checked_to_offset(time::UtcOffset::UTC))
        .ok_or_else(|| AwsAuthError::Incomplete("Date must be in ISO-8601 'basic format'.".into()))
}

fn check_age(at: OffsetDateTime, now: Timestamp) -> Result<(), AwsAuthError> {
    let now = OffsetDateTime::from_unix_timestamp(now.as_secs()).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let refuse = |words: &str, limit: OffsetDateTime, sign: char| {
        let text = format!("Signature {words} {} ({} {sign} 5 min.)", stamp(limit), stamp(now));
        Err(AwsAuthError::InvalidSignature(text))
    };
    let (oldest, newest) = (now.saturating_sub(SKEW_MAX), now.saturating_add(SKEW_MAX));
    if at < oldest {
        return refuse(&format!("expired: {} is now earlier than", stamp(at)), oldest, '-');
    }
    if at > newest {
        return refuse(&format!("not yet current: {} is still later than", stamp(at)), newest, '+');
    }
    Ok(())
}

/// Of a time in UTC.
fn stamp(at: OffsetDateTime) -> String {
    let (date, clock) = (at.date(), at.time());
    let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
    format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", clock.hour(), clock.minute(), clock.second())
}

fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text);
    mac.finalize().into_bytes().into()
}

pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Signs `POST /` as a client would, with the header's own names; for tests of what is around the signature.
#[cfg(test)]
pub(crate) fn sign_for_tests(mut headers: HeaderMap, secret: &str, body: &[u8]) -> HeaderMap {
    let uri = http::Uri::from_static("/");
    let text = headers[http::header::AUTHORIZATION].to_str().unwrap().to_owned();
    let parsed = Authorization::parse(&text).unwrap();
    let request = SignedRequest { method: "POST", uri: &uri, headers: &headers, body };
    let canonical = canonical::request(request, &parsed.signed_headers).unwrap();
    let at = headers["x-amz-date"].to_str().unwrap();
    let to_sign = format!("{ALGORITHM}\n{at}\n{}\n{}", parsed.scope(), sha256_hex(canonical.as_bytes()));
    let signature = hex::encode(hmac(&parsed.signing_key(secret), to_sign.as_bytes()));
    let signed = text.replace("Signature=00", &format!("Signature={signature}"));
    headers.insert(http::header::AUTHORIZATION, signed.parse().unwrap());
    headers
}

#[cfg(test)]
mod tests;

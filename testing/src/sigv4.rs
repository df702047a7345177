//! Signs requests as AWS clients do (Signature Version 4), from the specification and independently of the server's own code.
//! Every part can be set, so that tests can also make wrong ones.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::macros::format_description;

/// What a signature is made with.
#[derive(Debug, Clone)]
pub struct Signer {
    pub access_key_id: String,
    pub secret_access_key: String,
    pub region: String,
    /// `ecs` or `ecr`.
    pub service: String,
}

impl Signer {
    /// The headers to send with `POST /` to `host`: date and authorization. `target` is the value of `X-Amz-Target`.
    pub fn sign_post(&self, host: &str, target: &str, body: &[u8], now: OffsetDateTime) -> Vec<(&'static str, String)> {
        let stamp = now
            .format(format_description!("[year][month][day]T[hour][minute][second]Z"))
            .expect("the format has only parts that every date has");
        let day = &stamp[..8];
        let signed = "content-type;host;x-amz-date;x-amz-target";
        let canonical = format!(
            "POST\n/\n\ncontent-type:{CONTENT_TYPE}\nhost:{host}\nx-amz-date:{stamp}\nx-amz-target:{target}\n\n{signed}\n{}",
            hex::encode(Sha256::digest(body))
        );
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let to_sign = format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{}", hex::encode(Sha256::digest(canonical.as_bytes())));
        let signature = hex::encode(hmac(&self.signing_key(day), to_sign.as_bytes()));
        let authorization =
            format!("AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={signed}, Signature={signature}", self.access_key_id);
        vec![("x-amz-date", stamp), ("authorization", authorization)]
    }

    fn signing_key(&self, day: &str) -> Vec<u8> {
        [day, &self.region, &self.service, "aws4_request"]
            .iter()
            .fold(format!("AWS4{}", self.secret_access_key).into_bytes(), |key, part| hmac(&key, part.as_bytes()))
    }
}

/// The content type of AWS JSON 1.1.
pub const CONTENT_TYPE: &str = "application/x-amz-json-1.1";

fn hmac(key: &[u8], data: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(data);
    mac.finalize().into_bytes().to_vec()
}

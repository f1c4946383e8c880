//! An identity provider of OpenID Connect, as cores ask it and browsers come to it.

use std::collections::BTreeMap;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use node::io::Fetch;

/// Its name.
pub const HOST: &str = "idp.test";

/// The domain whose users it vouches for.
pub const DOMAIN: &str = "sso.test";

/// What cores are configured with.
pub const CONFIG: &str = "[[domains]]\nname = \"sso.test\"\n[domains.sign_in]\nby = \"oidc\"\n\
    issuer = \"https://idp.test/realm\"\nclient_id = \"us\"\nclient_secret = \"secret\"\n";

/// Past every run: seconds since 1970.
const EXPIRES: u64 = 1_900_000_000;

/// The provider.
#[derive(Debug, Default)]
pub struct Idp {
    /// Codes that are good once, with the nonce of each.
    codes: BTreeMap<String, String>,
    /// Codes that were shown.
    pub shown: u32,
}

/// A field of a query or a form; those looked for here have no characters to escape.
pub fn field<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    let query = query.split_once('?').map_or(query, |(_, query)| query);
    let mut fields = query.split('&').filter_map(|f| f.split_once('='));
    fields.find(|(n, _)| *n == name).map(|(_, value)| value)
}

impl Idp {
    /// A browser comes with the address it was sent to, and alice signs in: what it asks of the
    /// edge next.
    pub fn sign_in(&mut self, location: &str) -> String {
        let get = |name: &str| field(location, name).unwrap_or_default().to_owned();
        let code = format!("c{}", self.codes.len() + 1);
        self.codes.insert(code.clone(), get("nonce"));
        format!("oidc?code={code}&state={}", get("state"))
    }

    /// Answers a core.
    pub fn answer(&mut self, request: &Fetch) -> (u16, String) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[9; 32]);
        let Ok(pair) = pair else {
            return (500, String::new());
        };
        let at = format!("https://{HOST}");
        let body = match request.path.as_str() {
            "/realm/.well-known/openid-configuration" => format!(
                r#"{{"issuer":"{at}/realm","authorization_endpoint":"{at}/authorize",
                "token_endpoint":"{at}/token","jwks_uri":"{at}/keys"}}"#
            ),
            "/keys" => {
                let x = BASE64URL.encode(pair.public_key().as_ref());
                format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"1","x":"{x}"}}]}}"#)
            }
            "/token" => {
                self.shown += 1;
                let code = field(&request.body, "code").unwrap_or_default();
                let Some(nonce) = self.codes.remove(code) else {
                    return (400, r#"{"error":"invalid_grant"}"#.to_owned());
                };
                let claims = format!(
                    r#"{{"iss":"{at}/realm","aud":"us","sub":"7","nonce":"{nonce}",
                    "preferred_username":"alice","exp":{EXPIRES}}}"#
                );
                let part = |text: &str| BASE64URL.encode(text);
                let header = part(r#"{"alg":"EdDSA","kid":"1"}"#);
                let signed = format!("{header}.{}", part(&claims));
                let signature = BASE64URL.encode(pair.sign(signed.as_bytes()));
                format!(r#"{{"id_token":"{signed}.{signature}"}}"#)
            }
            _ => return (404, String::new()),
        };
        (200, body)
    }
}

//! Answering digest challenges (RFC 3261 §22, RFC 7616, RFC 8760) and keeping the nonce in use.

use anyhow::Result;
use sipx_sip::auth::{self, Challenge};
use sipx_sip::{HeaderName, Request, Response};

use super::Profile;
use crate::sip::message;

/// Name, password, and the last challenge.
pub(super) struct Credentials {
    user: Option<auth::Credentials>,
    bearer: Option<String>,
    challenge: Option<Challenge>,
    count: u32,
}

impl Credentials {
    pub(super) fn new(profile: &Profile) -> Credentials {
        let user = profile
            .credentials
            .clone()
            .map(|(name, password)| auth::Credentials::new(name, password));
        Credentials {
            user,
            bearer: profile.bearer.clone(),
            challenge: None,
            count: 0,
        }
    }

    /// Takes a challenge in; `false` if there is no answer to it, or the same was just answered and
    /// the credentials were not good.
    pub(super) fn challenged(&mut self, response: &Response) -> Result<bool> {
        let proxy = response.status.code() == 407;
        let name = if proxy {
            HeaderName::ProxyAuthenticate
        } else {
            HeaderName::WwwAuthenticate
        };
        let offered = response
            .headers
            .get_all(&name)
            .filter_map(|header| Challenge::parse(&header.value(), proxy))
            .collect();
        let chosen = auth::strongest(offered);
        let Some(challenge) = chosen.filter(|_| self.user.is_some()) else {
            return Ok(false);
        };
        let refused = self.count > 0
            && !challenge.stale
            && self
                .challenge
                .as_ref()
                .is_some_and(|known| known.realm == challenge.realm);
        self.challenge = Some(challenge);
        self.count = 0;
        Ok(!refused)
    }

    /// Puts an answer to the last challenge into the request.
    pub(super) fn sign(&mut self, request: &mut Request) -> Result<()> {
        request.headers.remove_all(&HeaderName::Authorization);
        request.headers.remove_all(&HeaderName::ProxyAuthorization);
        if let Some(token) = &self.bearer {
            let value = format!("Bearer token=\"{token}\"");
            message::add(&mut request.headers, HeaderName::ProxyAuthorization, value)?;
        }
        let (Some(user), Some(challenge)) = (&self.user, &self.challenge) else {
            return Ok(());
        };
        self.count += 1;
        let method = request.method.to_string();
        let uri = request.uri.to_string();
        let value = auth::respond(
            challenge,
            user,
            &method,
            &uri,
            self.count,
            &message::token(8),
        );
        message::add(&mut request.headers, challenge.response_header(), value)
    }

    /// Realm and algorithm of the last challenge.
    pub(super) fn realm(&self) -> Option<(String, &'static str)> {
        let challenge = self.challenge.as_ref()?;
        Some((challenge.realm.clone(), challenge.algorithm.as_str()))
    }
}

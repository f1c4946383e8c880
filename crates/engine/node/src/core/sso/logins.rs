//! Log-ins between the redirect to an identity provider and the browser's return.
//!
//! A log-in is known by its state, is the browser's that holds its cookie, and is gone with the
//! first return or after [`LIFE`]. Bounds: [`LOGINS_MAX`], [`OF_SOURCE_MAX`] of one source; who
//! begins one more loses its own oldest, or the oldest of all.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use base::{HashMap, Instant, Secret};

use crate::strikes::whole;

/// How long a user has to sign in.
pub(super) const LIFE: Duration = Duration::from_secs(600);

const LOGINS_MAX: usize = 10_000;

const OF_SOURCE_MAX: usize = 50;

/// One of them.
pub(super) struct Login {
    /// The domain's row.
    pub(super) domain: usize,
    /// The edge it came by.
    pub(super) peer: usize,
    pub(super) client: Option<IpAddr>,
    /// What the browser's cookie holds.
    pub(super) cookie: Secret<String>,
    /// Where the browser comes back to.
    pub(super) back: String,
    /// What the client gave to find its own log-in by, if it is to get its token in the address.
    pub(super) token_wanted: Option<String>,
    pub(super) with: With,
}

/// What the way of signing in remembers.
pub(super) enum With {
    Oidc {
        nonce: String,
        verifier: Secret<String>,
    },
    Saml {
        request: String,
    },
}

/// All of them.
#[derive(Default)]
pub(super) struct Logins {
    rows: HashMap<String, (Option<IpAddr>, Login)>,
    /// Each begun once, the oldest first; some are gone since.
    order: VecDeque<(Instant, String)>,
    of_source: HashMap<IpAddr, VecDeque<String>>,
}

impl Logins {
    /// Keeps one under its state.
    pub(super) fn begin(&mut self, now: Instant, state: &str, login: Login) {
        self.forget(now);
        let source = login.client.map(whole);
        if let Some(source) = source {
            let own = self.of_source.entry(source).or_default();
            let full = own.len() >= OF_SOURCE_MAX;
            if let Some(oldest) = full.then(|| own.front().cloned()).flatten() {
                self.take(&oldest);
            }
        }
        while self.rows.len() >= LOGINS_MAX {
            let Some((_, oldest)) = self.order.pop_front() else {
                break;
            };
            self.take(&oldest);
        }
        if let Some(source) = source {
            let own = self.of_source.entry(source).or_default();
            own.push_back(state.to_owned());
        }
        self.rows.insert(state.to_owned(), (source, login));
        self.order.push_back((now + LIFE, state.to_owned()));
    }

    /// The log-in of a state, if it is that of the browser with this cookie; it is gone then.
    pub(super) fn finish(&mut self, now: Instant, state: &str, cookie: &str) -> Option<Login> {
        self.forget(now);
        let (_, login) = self.rows.get(state)?;
        let shown = Secret::new(cookie.to_owned());
        if login.cookie != shown {
            return None;
        }
        self.take(state)
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    fn take(&mut self, state: &str) -> Option<Login> {
        let (source, login) = self.rows.remove(state)?;
        if let Some(source) = source
            && let Some(own) = self.of_source.get_mut(&source)
        {
            own.retain(|s| s != state);
            if own.is_empty() {
                self.of_source.remove(&source);
            }
        }
        Some(login)
    }

    fn forget(&mut self, now: Instant) {
        while let Some((until, _)) = self.order.front() {
            if *until > now && self.order.len() <= 2 * LOGINS_MAX {
                return;
            }
            if let Some((_, state)) = self.order.pop_front() {
                self.take(&state);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(client: &str) -> Login {
        Login {
            domain: 0,
            peer: 0,
            client: Some(client.parse().unwrap()),
            cookie: Secret::new("c".into()),
            back: String::new(),
            token_wanted: None,
            with: With::Saml {
                request: "_r".into(),
            },
        }
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn a_login_ends_once_by_its_browser_and_within_ten_minutes() {
        let mut logins = Logins::default();
        for state in ["a", "b"] {
            logins.begin(at(0), state, login("192.0.2.1"));
        }
        assert!(logins.finish(at(1), "a", "other").is_none());
        assert!(logins.finish(at(1), "x", "c").is_none());
        assert!(logins.finish(at(1), "a", "c").is_some());
        assert!(logins.finish(at(1), "a", "c").is_none());
        assert!(logins.finish(at(600), "b", "c").is_none());
        assert_eq!((logins.len(), logins.of_source.len()), (0, 0));
    }

    #[test]
    fn one_source_pushes_out_its_own_and_the_table_has_a_bound() {
        let mut logins = Logins::default();
        logins.begin(at(0), "good", login("192.0.2.1"));
        for n in 0..1000 {
            logins.begin(at(1), &format!("bad{n}"), login("198.51.100.1"));
        }
        assert_eq!(logins.len(), 1 + OF_SOURCE_MAX);
        assert!(logins.finish(at(2), "good", "c").is_some());
        for n in 0..30_000_u32 {
            let ip = std::net::Ipv4Addr::from(0x0a00_0000 + n).to_string();
            logins.begin(at(3), &format!("s{n}"), login(&ip));
        }
        assert_eq!(logins.len(), LOGINS_MAX);
        assert!(logins.order.len() <= 2 * LOGINS_MAX + 1);
        assert!(logins.of_source.len() <= LOGINS_MAX);
    }
}

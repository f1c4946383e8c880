//! Session keys of the SOAP interface and one-time passwords for XMPP; both are bounded in number
//! and age.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::world::secret;

const KEPT_MAX: usize = 20_000;
const SESSION_AGE_MAX: Duration = Duration::from_secs(8 * 3600);
const ONE_TIME_AGE_MAX: Duration = Duration::from_secs(300);

/// Keys and one-time passwords that are out.
#[derive(Default)]
pub struct Tokens {
    sessions: Mutex<VecDeque<Token>>,
    one_time: Mutex<VecDeque<Token>>,
}

struct Token {
    secret: String,
    user: String,
    made: Instant,
}

impl Tokens {
    /// A new session key of a user.
    pub fn session(&self, user: &str) -> String {
        make(&self.sessions, user)
    }

    /// Whose session key it is.
    pub fn session_user(&self, key: &str) -> Option<String> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|t| t.made.elapsed() < SESSION_AGE_MAX);
        sessions
            .iter()
            .find(|t| t.secret == key)
            .map(|t| t.user.clone())
    }

    /// A new one-time password of a user.
    pub fn one_time(&self, user: &str) -> String {
        make(&self.one_time, user)
    }

    /// Takes a one-time password back; whether it was the user's.
    pub fn redeem(&self, user: &str, password: &str) -> bool {
        let mut out = self.one_time.lock().unwrap_or_else(PoisonError::into_inner);
        out.retain(|t| t.made.elapsed() < ONE_TIME_AGE_MAX);
        let found = out
            .iter()
            .position(|t| t.secret == password && t.user == user);
        found.and_then(|at| out.remove(at)).is_some()
    }
}

fn make(kept: &Mutex<VecDeque<Token>>, user: &str) -> String {
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    while kept.len() >= KEPT_MAX {
        kept.pop_front();
    }
    let made = secret(40);
    kept.push_back(Token {
        secret: made.clone(),
        user: user.into(),
        made: Instant::now(),
    });
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_time_password_works_once_and_for_its_user_alone() {
        let tokens = Tokens::default();
        let password = tokens.one_time("alice");
        assert!(!tokens.redeem("bob", &password));
        assert!(tokens.redeem("alice", &password));
        assert!(!tokens.redeem("alice", &password));
    }
}

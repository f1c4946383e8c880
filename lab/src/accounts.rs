//! Who may sign in with what: the users' passwords, which they can change, and the administrator.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use crate::command::Mistake;
use crate::world::{User, World};

/// Passwords and what the servers remember of sign-ins; one for all simulated servers.
pub struct Accounts {
    /// Who there is.
    pub world: Arc<World>,
    /// Tokens of the identity provider.
    pub bearers: Bearers,
    changed: Mutex<HashMap<String, Record>>,
    lookups: AtomicU32,
}

/// Tokens that the identity provider gave out, and whose they are: Unified CM looks them up there.
/// Clones share them.
#[derive(Clone, Default)]
pub struct Bearers(Arc<Mutex<VecDeque<(String, String)>>>);

/// Tokens that are kept.
const TOKENS: usize = 1_000;

impl Bearers {
    /// That token is that user's.
    pub fn issued(&self, token: &str, user: &str) {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.len() >= TOKENS {
            tokens.pop_front();
        }
        tokens.push_back((token.to_owned(), user.to_owned()));
    }

    /// Whose a token is.
    pub fn user(&self, token: &str) -> Option<String> {
        let tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = tokens.iter().find(|(known, _)| known == token);
        found.map(|(_, user)| user.clone())
    }
}

/// What UDS tells of a user's credentials.
#[derive(Clone, Debug, Default)]
pub struct Record {
    password: Option<String>,
    /// The last sign-in that succeeded.
    pub last_success: Option<SystemTime>,
    /// How often the password was wrong since.
    pub failures: u32,
}

impl Accounts {
    /// The accounts of a world.
    pub fn new(world: Arc<World>) -> Accounts {
        Accounts {
            world,
            bearers: Bearers::default(),
            changed: Mutex::default(),
            lookups: AtomicU32::new(0),
        }
    }

    /// The user of that name, if the password is theirs.
    pub fn check(&self, name: &str, password: &str) -> Option<&User> {
        let user = self.world.user(name)?;
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        let record = changed.entry(user.name.clone()).or_default();
        if record.password.as_ref().unwrap_or(&user.password) == password {
            record.last_success = Some(SystemTime::now());
            record.failures = 0;
            Some(user)
        } else {
            record.failures = record.failures.saturating_add(1);
            None
        }
    }

    /// Whether this lookup of a user at a node fails where it should not: by turns, and always in
    /// a cluster that is not the user's.
    pub fn is_blind(&self, node: &str, user: &User) -> bool {
        if !self.world.mistakes.contains(&Mistake::LookupMissing) {
            return false;
        }
        let turn = || self.lookups.fetch_add(1, Ordering::Relaxed) % 2 == 1;
        !self.world.is_home(node, user) || turn()
    }

    /// Whether these are the administrator's.
    pub fn is_administrator(&self, name: &str, password: &str) -> bool {
        name == self.world.administrator && password == self.world.administrator_password
    }

    /// Gives a user another password.
    pub fn change(&self, user: &User, password: &str) {
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        changed.entry(user.name.clone()).or_default().password = Some(password.to_owned());
    }

    /// The record of a user.
    pub fn record(&self, user: &User) -> Record {
        let changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        changed.get(&user.name).cloned().unwrap_or_default()
    }
}

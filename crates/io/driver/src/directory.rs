//! Domains whose passwords Unified CM does not check: what the node asks
//! ([`node::io::Output::Prove`]) is put to the domain's file of users or to its LDAP directory.
//!
//! A file is read again whenever it has changed, and looked at every [`LOOK`]: who is no longer in
//! it, or has another password, is told the node, which signs them out. A file that became unusable
//! vouches for nobody, and says why at once ([`Report::UsersFile`]). Bounds: [`CHECKS_MAX`]
//! passwords of files are checked at once, since each takes a processor and 19 MiB;
//! [`WAITING_MAX`] questions of each domain wait, so that a directory that is dead holds up no
//! other.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base::{Pii, Secret};
use config::{Domain, SignInBy};
use net::tls::Live;
use node::io::{AskId, Input, Report};
use provisioning::sign_in::{Proven, Unproven};
use rustls::ClientConfig;
use tokio::sync::{Semaphore, watch};

use crate::ldap::Ldap;
use crate::signal::Handle;
use crate::users::{USERS_MAX, User, Users, UsersFault};

/// Passwords of files that are checked at once.
const CHECKS_MAX: usize = 2;

/// Questions of a domain at once; one more is told that nobody can tell.
const WAITING_MAX: usize = 256;

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// All domains with a directory of their own; cheap to clone.
#[derive(Clone)]
pub(crate) struct Directories {
    handle: Handle,
    by_domain: Arc<HashMap<String, Own>>,
    checks: Arc<Semaphore>,
}

/// A domain's directory, and the places of those who ask it.
#[derive(Clone)]
struct Own {
    directory: Directory,
    waiting: Arc<Semaphore>,
}

impl Own {
    fn new(directory: Directory) -> Self {
        let waiting = Arc::new(Semaphore::new(WAITING_MAX));
        Own { directory, waiting }
    }
}

#[derive(Clone)]
enum Directory {
    File(Arc<UserFile>),
    Ldap(Ldap),
}

struct UserFile {
    path: PathBuf,
    state: std::sync::Mutex<State>,
}

struct State {
    stamp: Option<Stamp>,
    users: Result<Arc<Users>, UsersFault>,
    /// Who signed in, as the file had it then: it may change twice between two looks.
    vouched: HashMap<String, User>,
}

/// What tells one state of a file from another, and of who may read it: when it was changed last
/// (status, contents or name), its size and its inode.
type Stamp = (i64, i64, u64, u64);

impl UserFile {
    fn new(path: PathBuf) -> Self {
        let users = Err(UsersFault::File("it was not read yet".into()));
        let stamp = None;
        let vouched = HashMap::new();
        let state = std::sync::Mutex::new(State {
            stamp,
            users,
            vouched,
        });
        UserFile { path, state }
    }

    fn stamp(&self) -> Option<Stamp> {
        use std::os::unix::fs::MetadataExt;
        let meta = std::fs::metadata(&self.path).ok()?;
        Some((meta.ctime(), meta.ctime_nsec(), meta.size(), meta.ino()))
    }

    /// Who has this name and password, as the file is now. Blocks.
    fn check(&self, name: &str, password: &Secret<String>) -> Result<Option<Proven>, UsersFault> {
        let users = self.users()?;
        let Some(user) = users.check(name, password) else {
            return Ok(None);
        };
        let account = user.name.expose().clone();
        let mut state = self.state.lock().unwrap_or_else(|e| e.into_inner());
        if state.vouched.len() < USERS_MAX {
            state.vouched.insert(account.clone(), user.clone());
        }
        let lines = user.lines.clone();
        Ok(Some(Proven { account, lines }))
    }

    /// Who signed in and is no longer there, or has another password.
    fn gone(&self, now: &Users) -> Vec<Pii<String>> {
        let mut state = self.state.lock().unwrap_or_else(|e| e.into_inner());
        let stays = |user: &User| {
            let there = now.get(user.name.expose());
            there.is_some_and(|there| there.is_same(user))
        };
        let mut gone = Vec::new();
        state.vouched.retain(|_, user| {
            let stays = stays(user);
            if !stays {
                gone.push(user.name.clone());
            }
            stays
        });
        gone
    }

    /// The users as the file has them now. Blocks.
    fn users(&self) -> Result<Arc<Users>, UsersFault> {
        let mut state = self.state.lock().unwrap_or_else(|e| e.into_inner());
        let stamp = self.stamp();
        // A folder on the way may have been opened meanwhile: no stamp tells.
        let unread = matches!(state.users, Err(UsersFault::File(_)));
        if stamp.is_none() || unread || stamp != state.stamp {
            state.users = Users::read(&self.path).map(Arc::new);
            state.stamp = stamp;
        }
        state.users.clone()
    }
}

impl Directories {
    /// Of a core's domains.
    pub(crate) fn new(
        handle: &Handle,
        domains: &[Domain],
        resolver: &net::dns::Resolver,
        tls: &Live<ClientConfig>,
    ) -> Self {
        let own = domains.iter().filter_map(|domain| {
            let directory = match &domain.sign_in {
                SignInBy::File(path) => Directory::File(Arc::new(UserFile::new(path.clone()))),
                SignInBy::Ldap(ldap) => {
                    Directory::Ldap(Ldap::new(ldap, resolver.clone(), tls.clone()))
                }
                _ => return None,
            };
            let name = domain.name.as_str().to_ascii_lowercase();
            Some((name, Own::new(directory)))
        });
        Directories {
            handle: handle.clone(),
            by_domain: Arc::new(own.collect()),
            checks: Arc::new(Semaphore::new(CHECKS_MAX)),
        }
    }

    /// Asks a domain's directory; the answer comes to the node.
    pub(crate) fn prove(
        &self,
        id: AskId,
        domain: &str,
        user: Pii<String>,
        password: Secret<String>,
    ) {
        let (this, own) = (self.clone(), self.by_domain.get(domain).cloned());
        let permit = own.map(|own| (own.waiting.try_acquire_owned(), own.directory));
        tokio::spawn(async move {
            let failed = |why: &str| {
                let (server, why) = ("the directory".into(), why.into());
                Err(Unproven::Unreachable { server, why })
            };
            let result = match permit {
                None => failed("the domain has none"),
                Some((Err(_), _)) => failed("too many passwords are being checked"),
                Some((Ok(_permit), Directory::Ldap(ldap))) => ldap.prove(&user, &password).await,
                Some((Ok(_permit), Directory::File(file))) => {
                    this.check(file, user, password).await
                }
            };
            // The node being gone means that the program stops.
            let _ = this.handle.input(Input::Proved { id, result }).await;
        });
    }

    async fn check(
        &self,
        file: Arc<UserFile>,
        user: Pii<String>,
        password: Secret<String>,
    ) -> Result<Proven, Unproven> {
        let _permit = self.checks.acquire().await;
        let server = file.path.display().to_string();
        let checked = tokio::task::spawn_blocking(move || file.check(user.expose(), &password));
        let failed = |why: String| Unproven::Unreachable { server, why };
        match checked.await {
            Ok(Ok(Some(proven))) => Ok(proven),
            Ok(Ok(None)) => Err(Unproven::Wrong(
                "the file of users has no such user and password",
            )),
            Ok(Err(fault)) => Err(failed(fault.to_string())),
            Err(e) => Err(failed(e.to_string())),
        }
    }

    /// Looks at files, and tells the node of their users, until told to stop.
    pub(crate) async fn watch(self, mut stop: watch::Receiver<bool>) {
        let files: Vec<(String, Arc<UserFile>)> = self.files().collect();
        if files.is_empty() {
            return;
        }
        let mut seen: Vec<(Option<Arc<Users>>, Option<UsersFault>)> = Vec::new();
        seen.resize_with(files.len(), Default::default);
        loop {
            for ((domain, file), (before, told)) in files.iter().zip(&mut seen) {
                let read = file.clone();
                let Ok(now) = tokio::task::spawn_blocking(move || read.users()).await else {
                    continue;
                };
                match now {
                    Ok(now) => {
                        *told = None;
                        if self.tell(domain, file, before.as_ref(), &now).await {
                            *before = Some(now);
                        }
                    }
                    // Told once, and at each sign-in; who is signed in stays so.
                    Err(fault) if told.as_ref() == Some(&fault) => {}
                    Err(fault) => {
                        if self.complain(domain, file, &fault).await {
                            *told = Some(fault);
                        }
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    fn files(&self) -> impl Iterator<Item = (String, Arc<UserFile>)> {
        self.by_domain.iter().filter_map(|(domain, own)| {
            let Directory::File(file) = &own.directory else {
                return None;
            };
            Some((domain.clone(), file.clone()))
        })
    }

    /// Whether the node knows that a file is unusable.
    async fn complain(&self, domain: &str, file: &UserFile, fault: &UsersFault) -> bool {
        let path = file.path.display();
        let report = Report::UsersFile {
            domain: domain.to_owned(),
            cause: match fault {
                UsersFault::File(why) => why.clone(),
                fault => format!("{path}: {fault}"),
            },
        };
        self.handle.input(Input::Report(report)).await.is_ok()
    }

    /// Whether the node knows a file's users now.
    async fn tell(
        &self,
        domain: &str,
        file: &UserFile,
        before: Option<&Arc<Users>>,
        now: &Arc<Users>,
    ) -> bool {
        if before.is_some_and(|before| Arc::ptr_eq(before, now)) {
            return true;
        }
        let mut gone = file.gone(now);
        gone.extend(before.map(|before| before.gone(now)).unwrap_or_default());
        gone.sort();
        gone.dedup();
        let users = Input::Users {
            domain: domain.to_owned(),
            digests: now.sorted().into_iter().map(|u| u.digests()).collect(),
            gone,
        };
        self.handle.input(users).await.is_ok()
    }
}

#[cfg(test)]
mod tests;

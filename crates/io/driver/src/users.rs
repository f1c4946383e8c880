//! A domain's own file of users: who they are, what checks their passwords, what they may register.
//!
//! One user a line, `name:verifier[:line,line[:realm:MD5:SHA-256]…]`. The verifier is argon2id in
//! the PHC form, with a salt of its own; no password can be read from it. The H(A1) of realms, if
//! there are any, check SIP digests of devices that never sign in over HTTPS; whoever has them can
//! answer digests, so the file is for its owner alone. Empty lines and those that begin with `#`
//! stay as they are when the file is changed.
//!
//! A change takes the place of the file at once or not at all, and two changes at the same time
//! wait for one another. Whoever makes it, root too, the file stays its owner's with the mode it
//! had, less what it let others do; a new one is the folder's owner's. Bounds: [`USERS_MAX`]
//! users, [`BYTES_MAX`]; verifiers that cost more than `MEMORY_KIB_MAX` are refused.

use std::collections::HashMap;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;
use std::sync::OnceLock;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, Params, PasswordHasher, PasswordVerifier};
use base::{Pii, Secret};
use policy::credentials::{FileUser, Ha1};

/// Users of a file.
pub const USERS_MAX: usize = 100_000;

/// The largest file read, in bytes.
pub const BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The memory that a verifier may ask for, in KiB.
const MEMORY_KIB_MAX: u32 = 256 * 1024;

/// The passes that a verifier may ask for.
const PASSES_MAX: u32 = 10;

/// Bytes of a name, as elsewhere in a sign-in.
const NAME_BYTES_MAX: usize = provisioning::sign_in::USER_MAX;

/// What is wrong with a file, or with what was asked of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsersFault {
    /// A line is malformed.
    #[error("line {0} is not name:verifier[:line,line[:realm:MD5:SHA-256]]: {1}")]
    Line(usize, &'static str),
    /// The file cannot be read or written.
    #[error("{0}")]
    File(String),
    /// Nobody of that name.
    #[error("there is no user of that name")]
    Nobody,
    /// Somebody of that name.
    #[error("there is a user of that name already")]
    Taken,
    /// The name, a line or a realm cannot stand in the file.
    #[error("{0}")]
    Unfit(&'static str),
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The name.
    pub name: Pii<String>,
    verifier: Secret<String>,
    /// What the user may register beside the name.
    pub lines: Vec<String>,
    /// H(A1) by realm.
    realms: Vec<(String, Ha1)>,
}

impl User {
    /// Realms whose SIP digests are checked without a sign-in.
    pub fn realms(&self) -> impl Iterator<Item = &str> {
        self.realms.iter().map(|(realm, _)| realm.as_str())
    }

    /// As digests need it.
    pub fn digests(&self) -> FileUser {
        FileUser {
            user: self.name.clone(),
            realms: self.realms.clone(),
            lines: self.lines.clone(),
        }
    }

    /// Whether a password is this user's. Takes tens of milliseconds of processor.
    pub fn knows(&self, password: &Secret<String>) -> bool {
        verify(self.verifier.expose(), password)
    }

    /// Whether both have the same password, digests and lines.
    pub fn is_same(&self, other: &User) -> bool {
        let lines = self.lines == other.lines;
        lines && self.verifier == other.verifier && self.realms == other.realms
    }

    fn to_line(&self) -> Secret<String> {
        let mut line = format!("{}:{}", self.name.expose(), self.verifier.expose());
        if !self.lines.is_empty() || !self.realms.is_empty() {
            line.push(':');
            line.push_str(&self.lines.join(","));
        }
        for (realm, ha1) in &self.realms {
            let (md5, sha256) = (ha1.md5.expose(), ha1.sha256.expose());
            line.push_str(&format!(":{realm}:{md5}:{sha256}"));
        }
        Secret::new(line)
    }

    fn of(line: &str) -> Result<User, &'static str> {
        let mut parts = line.split(':');
        let (name, verifier) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        fit_name(name)?;
        fit_verifier(verifier)?;
        let lines = parts.next().unwrap_or("");
        let lines: Vec<String> = lines
            .split(',')
            .filter(|l| !l.is_empty())
            .map(str::to_owned)
            .collect();
        lines.iter().try_for_each(|line| fit(line))?;
        let rest: Vec<&str> = parts.collect();
        let mut realms = Vec::new();
        for realm in rest.chunks(3) {
            let [realm, md5, sha256] = realm else {
                return Err("a realm has H(A1) by MD5 and by SHA-256");
            };
            let hex = |s: &str, n: usize| s.len() == n && s.bytes().all(|b| b.is_ascii_hexdigit());
            if realm.is_empty() || !hex(md5, 32) || !hex(sha256, 64) {
                return Err("a realm has H(A1) by MD5 and by SHA-256");
            }
            let ha1 = Ha1 {
                md5: Secret::new(md5.to_ascii_lowercase()),
                sha256: Secret::new(sha256.to_ascii_lowercase()),
            };
            realms.push(((*realm).to_owned(), ha1));
        }
        Ok(User {
            name: Pii::new(name.to_owned()),
            verifier: Secret::new(verifier.to_owned()),
            lines,
            realms,
        })
    }
}

/// A file's users, by name in any case.
#[derive(Debug, Default)]
pub struct Users {
    rows: HashMap<String, User>,
}

impl Users {
    /// Reads a file.
    ///
    /// # Errors
    /// [`UsersFault`] of the first line that is malformed, or of the file.
    pub fn read(path: &Path) -> Result<Users, UsersFault> {
        Users::parse(text(path)?.expose())
    }

    /// Reads its text.
    ///
    /// # Errors
    /// [`UsersFault::Line`].
    pub fn parse(text: &str) -> Result<Users, UsersFault> {
        let mut users = Users::default();
        for (number, line) in text.lines().enumerate() {
            if is_comment(line) {
                continue;
            }
            let fault = |why| UsersFault::Line(number + 1, why);
            let user = User::of(line.trim()).map_err(fault)?;
            if users.rows.len() >= USERS_MAX {
                return Err(fault("there are more than 100000 users"));
            }
            let name = key(user.name.expose());
            if users.rows.insert(name, user).is_some() {
                return Err(fault("the name stands twice"));
            }
        }
        Ok(users)
    }

    /// Who has this name and password. Takes as long for nobody as for somebody.
    pub fn check(&self, name: &str, password: &Secret<String>) -> Option<&User> {
        match self.rows.get(&key(name)) {
            Some(user) => user.knows(password).then_some(user),
            None => {
                verify(nobody(), password);
                None
            }
        }
    }

    /// A user by name.
    pub fn get(&self, name: &str) -> Option<&User> {
        self.rows.get(&key(name))
    }

    /// All of them, by name.
    pub fn sorted(&self) -> Vec<&User> {
        let mut all: Vec<&User> = self.rows.values().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// Names that a later state of the file does not have, or has with another password.
    pub fn gone(&self, later: &Users) -> Vec<Pii<String>> {
        let stays = |user: &&User| {
            later
                .get(user.name.expose())
                .is_some_and(|l| l.is_same(user))
        };
        let gone = self.rows.values().filter(|user| !stays(user));
        gone.map(|user| user.name.clone()).collect()
    }
}

/// A change of a file.
pub enum Change<'a> {
    /// A new user.
    Add {
        /// The name.
        name: &'a str,
        /// The password.
        password: &'a Secret<String>,
        /// What the user may register beside the name.
        lines: &'a [String],
        /// Realms whose SIP digests are to be checked without a sign-in.
        realms: &'a [String],
    },
    /// Another password; realms stay the same.
    Password {
        /// The name.
        name: &'a str,
        /// The password.
        password: &'a Secret<String>,
    },
    /// The user goes.
    Remove {
        /// The name.
        name: &'a str,
    },
}

/// Makes a change; `salt` is random. A file that does not exist is made by the first user.
///
/// # Errors
/// [`UsersFault`]; the file is as it was then.
pub fn change(path: &Path, salt: &[u8; 16], change: &Change<'_>) -> Result<(), UsersFault> {
    let failed = |e: std::io::Error| UsersFault::File(format!("{}: {e}", path.display()));
    let lock = lock(path).map_err(failed)?;
    // Held until this file is closed.
    lock.lock().map_err(failed)?;
    let before = match text(path) {
        Ok(text) => text,
        Err(_) if !path.exists() => Secret::new(String::new()),
        Err(e) => return Err(e),
    };
    let users = Users::parse(before.expose())?;
    let after = Secret::new(changed(before.expose(), &users, salt, change)?);
    Users::parse(after.expose())?;
    replace(path, after.expose()).map_err(failed)
}

/// The text after a change.
fn changed(
    text: &str,
    users: &Users,
    salt: &[u8; 16],
    change: &Change<'_>,
) -> Result<String, UsersFault> {
    let name = match change {
        Change::Add { name, .. } | Change::Password { name, .. } | Change::Remove { name } => *name,
    };
    let known = users.get(name);
    let line = match (change, known) {
        (Change::Add { .. }, Some(_)) => return Err(UsersFault::Taken),
        (Change::Password { .. } | Change::Remove { .. }, None) => return Err(UsersFault::Nobody),
        (Change::Remove { .. }, Some(_)) => None,
        (
            Change::Add {
                password,
                lines,
                realms,
                ..
            },
            None,
        ) => {
            let unfit = UsersFault::Unfit;
            fit_name(name).map_err(unfit)?;
            let all = lines.iter().chain(*realms);
            all.into_iter().try_for_each(|l| fit(l)).map_err(unfit)?;
            Some(made(name, salt, password, lines, realms)?)
        }
        (Change::Password { password, .. }, Some(user)) => {
            let realms: Vec<String> = user.realms().map(str::to_owned).collect();
            let name = user.name.expose();
            Some(made(name, salt, password, &user.lines, &realms)?)
        }
    };
    let is_his = |l: &str| !is_comment(l) && l.trim().split(':').next().map(key) == Some(key(name));
    let mut out = String::with_capacity(text.len() + 512);
    let mut line = line.map(|user| user.to_line());
    for old in text.lines() {
        if !is_his(old) {
            out.push_str(old);
            out.push('\n');
        } else if let Some(line) = line.take() {
            out.push_str(line.expose());
            out.push('\n');
        }
    }
    if let Some(line) = line {
        out.push_str(line.expose());
        out.push('\n');
    }
    Ok(out)
}

fn made(
    name: &str,
    salt: &[u8; 16],
    password: &Secret<String>,
    lines: &[String],
    realms: &[String],
) -> Result<User, UsersFault> {
    let text = password.expose();
    if text.is_empty() || text.len() > provisioning::sign_in::PASSWORD_MAX {
        return Err(UsersFault::Unfit("a password has 1 to 1024 bytes"));
    }
    let hash = Argon2::default().hash_password_with_salt(text.as_bytes(), salt);
    let hash = hash.map_err(|_| UsersFault::Unfit("the password cannot be hashed"))?;
    let ha1 = |realm: &String| (realm.clone(), Ha1::of(name, realm, text));
    Ok(User {
        name: Pii::new(name.to_owned()),
        verifier: Secret::new(hash.to_string()),
        lines: lines.to_vec(),
        realms: realms.iter().map(ha1).collect(),
    })
}

fn key(name: &str) -> String {
    name.to_lowercase()
}

fn is_comment(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with('#')
}

fn fit_name(name: &str) -> Result<(), &'static str> {
    if name.len() > NAME_BYTES_MAX {
        return Err("a name has at most 256 bytes");
    }
    if name.starts_with('#') {
        return Err("a name does not begin with #");
    }
    fit(name)
}

/// What may stand between colons and commas.
fn fit(text: &str) -> Result<(), &'static str> {
    let odd = |c: char| c.is_control() || c.is_whitespace() || matches!(c, ':' | ',');
    if text.is_empty() || text.contains(odd) {
        return Err("names, lines and realms are not empty, and have no space, colon or comma");
    }
    Ok(())
}

fn fit_verifier(text: &str) -> Result<(), &'static str> {
    let hash = PasswordHash::new(text).map_err(|_| "the verifier is none of argon2id")?;
    if hash.algorithm.as_str() != "argon2id" || hash.salt.is_none() || hash.hash.is_none() {
        return Err("the verifier is none of argon2id");
    }
    let params = Params::try_from(&hash).map_err(|_| "the verifier's parameters are wrong")?;
    if params.m_cost() > MEMORY_KIB_MAX || params.t_cost() > PASSES_MAX || params.p_cost() > 16 {
        return Err("the verifier takes more than 256 MiB or ten passes");
    }
    Ok(())
}

fn verify(verifier: &str, password: &Secret<String>) -> bool {
    let hash = PasswordHash::new(verifier);
    let verify = |hash| Argon2::default().verify_password(password.expose().as_bytes(), &hash);
    hash.is_ok_and(|hash| verify(hash).is_ok())
}

/// A verifier that nobody has.
fn nobody() -> &'static str {
    static NOBODY: OnceLock<String> = OnceLock::new();
    NOBODY.get_or_init(|| {
        let hash = Argon2::default().hash_password_with_salt(b"nobody", &[0; 16]);
        hash.map(|hash| hash.to_string()).unwrap_or_default()
    })
}

fn text(path: &Path) -> Result<Secret<String>, UsersFault> {
    let failed = |why: String| UsersFault::File(format!("{}: {why}", path.display()));
    let size = std::fs::metadata(path)
        .map_err(|e| failed(e.to_string()))?
        .len();
    if size > BYTES_MAX {
        return Err(failed(format!("{size} bytes are too many")));
    }
    let read = std::fs::read_to_string(path);
    read.map(Secret::new).map_err(|e| failed(e.to_string()))
}

fn beside(path: &Path, ending: &str) -> std::path::PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(ending);
    path.with_file_name(name)
}

/// The folder that a file is in.
fn folder(path: &Path) -> &Path {
    let named = path.parent().filter(|p| !p.as_os_str().is_empty());
    named.unwrap_or(Path::new("."))
}

/// What changes of a file wait for one another at: its owner's, who makes changes as well.
fn lock(path: &Path) -> std::io::Result<File> {
    let beside = beside(path, "lock");
    let mut options = OpenOptions::new();
    let made = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside);
    match made {
        Ok(made) => {
            give(&made, &old(path)?)?;
            Ok(made)
        }
        // It may be a link that somebody put there: it keeps its owner.
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {
            OpenOptions::new().write(true).open(&beside)
        }
        Err(e) => Err(e),
    }
}

/// The file as it is, or its folder.
fn old(path: &Path) -> std::io::Result<Metadata> {
    std::fs::metadata(path).or_else(|_| std::fs::metadata(folder(path)))
}

/// Gives a file that was made just now to the owner and the group of another, or of its folder.
fn give(file: &File, old: &Metadata) -> std::io::Result<()> {
    let new = file.metadata()?;
    if (new.uid(), new.gid()) == (old.uid(), old.gid()) {
        return Ok(());
    }
    match fchown(file, Some(old.uid()), Some(old.gid())) {
        // Who may write in a folder of another's has files of the own there.
        Err(e) if old.is_dir() && e.kind() == ErrorKind::PermissionDenied => Ok(()),
        given => given,
    }
}

/// Writes beside the file and moves it there: a crash leaves the old state or the new one.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let new = beside(path, "new");
    let _ = std::fs::remove_file(&new);
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(text.as_bytes())?;
    let old = old(path)?;
    give(&file, &old)?;
    if old.is_file() {
        // Others than owner and group never read it.
        let mode = old.permissions().mode() & 0o770;
        file.set_permissions(PermissionsExt::from_mode(mode))?;
    }
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    File::open(folder(path))?.sync_all()
}

#[cfg(test)]
mod tests;

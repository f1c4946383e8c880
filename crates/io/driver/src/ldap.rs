//! A directory that checks passwords, over LDAP (RFC 4511) and TLS alone.
//!
//! A user's entry is named by a template, or searched for; then the user's own password binds to
//! it. The name is escaped for where it stands (RFC 4514, 4515). What the core must not take for a
//! proof is refused before anything is sent: an empty password, which a server takes for an
//! anonymous bind (RFC 4513 §5.1.2), and an empty name of an entry. Referrals are not followed: a
//! password goes to configured servers alone.
//!
//! Connections are kept for the next user; each begins with a bind, which ends what was there
//! before. Bounds: the configured number of connections at once, [`IDLE_MAX`] for one that waits,
//! [`LINES_MAX`] lines of a user, the configured time a server, and as long for a connection.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base::{Pii, Secret};
use config::{LdapServer, LdapUser, Password};
use ldap3::{LdapConnAsync, LdapConnSettings, Scope, SearchEntry, SearchOptions, StdStream};
use net::tls::Live;
use provisioning::sign_in::{Proven, Unproven};
use rustls::ClientConfig;
use tokio::sync::Semaphore;

/// How long a connection is kept that nobody needs.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// Lines taken from an entry, and bytes of each.
const LINES_MAX: usize = 32;
const LINE_BYTES_MAX: usize = 128;

/// The codes of RFC 4511 §4.1.9 that matter here.
const SUCCESS: u32 = 0;
const NO_SUCH_OBJECT: u32 = 32;
const INVALID_DN_SYNTAX: u32 = 34;
const INAPPROPRIATE_AUTHENTICATION: u32 = 48;
const INVALID_CREDENTIALS: u32 = 49;

const WRONG: &str = "the directory refused the password";
const NOBODY: &str = "the directory has no entry for the user";
const SEVERAL: &str = "the directory has several entries for the user";

/// The directory of a domain; cheap to clone.
#[derive(Clone)]
pub(crate) struct Ldap(Arc<Inner>);

struct Inner {
    settings: config::Ldap,
    resolver: net::dns::Resolver,
    tls: Live<ClientConfig>,
    permits: Semaphore,
    /// Connections that stand, each with its server and since when nobody needs it.
    idle: Mutex<Vec<(usize, ldap3::Ldap, Instant)>>,
}

/// Why a server gave no verdict.
enum Fault {
    /// It has spoken: wrong.
    Wrong(&'static str),
    /// It cannot tell; another may.
    Server(String),
}

impl From<ldap3::LdapError> for Fault {
    fn from(error: ldap3::LdapError) -> Self {
        Fault::Server(error.to_string())
    }
}

impl Ldap {
    pub(crate) fn new(
        settings: &config::Ldap,
        resolver: net::dns::Resolver,
        tls: Live<ClientConfig>,
    ) -> Self {
        let mut settings = settings.clone();
        if let (None, LdapUser::Search { filter, .. }) =
            (&settings.account_attribute, &settings.user)
        {
            // Several spellings of a name find one entry: the entry tells which one counts.
            settings.account_attribute = named(filter).map(str::to_owned);
        }
        Ldap(Arc::new(Inner {
            resolver,
            tls,
            permits: Semaphore::new(settings.connections_max),
            settings,
            idle: Mutex::new(Vec::new()),
        }))
    }

    /// Whether the directory takes a user's password. The servers are asked in their order until
    /// one can tell.
    pub(crate) async fn prove(
        &self,
        user: &Pii<String>,
        password: &Secret<String>,
    ) -> Result<Proven, Unproven> {
        let this = &self.0;
        if user.expose().is_empty() || password.expose().is_empty() {
            return Err(Unproven::Wrong("no user name or no password"));
        }
        let free = tokio::time::timeout(this.settings.timeout, this.permits.acquire()).await;
        let Ok(_permit) = free else {
            return Err(Unproven::Unreachable {
                server: "the directory".to_owned(),
                why: format!(
                    "all {} connections to it were busy for {} s",
                    this.settings.connections_max,
                    this.settings.timeout.as_secs()
                ),
            });
        };
        let mut last = (
            "the directory".to_owned(),
            "no server is configured".to_owned(),
        );
        for (index, server) in this.settings.servers.iter().enumerate() {
            let name = format!("{}:{}", server.host, server.port);
            let asked = this.ask(index, server, user, password);
            let why = match tokio::time::timeout(this.settings.timeout, asked).await {
                Ok(Ok(proven)) => return Ok(proven),
                Ok(Err(Fault::Wrong(why))) => return Err(Unproven::Wrong(why)),
                Ok(Err(Fault::Server(why))) => why,
                Err(_) => format!("no answer in {} s", this.settings.timeout.as_secs()),
            };
            last = (name, why);
        }
        let (server, why) = last;
        Err(Unproven::Unreachable { server, why })
    }
}

impl Inner {
    async fn ask(
        &self,
        index: usize,
        server: &LdapServer,
        user: &Pii<String>,
        password: &Secret<String>,
    ) -> Result<Proven, Fault> {
        while let Some(mut kept) = self.kept(index) {
            match self.judge(&mut kept, user, password).await {
                // It was closed meanwhile, as a rule.
                Err(Fault::Server(_)) if kept.is_closed() => {}
                judged => return self.done(index, kept, judged),
            }
        }
        let mut fresh = self.dial(server).await?;
        let judged = self.judge(&mut fresh, user, password).await;
        self.done(index, fresh, judged)
    }

    /// A connection to a server that stands already.
    fn kept(&self, index: usize) -> Option<ldap3::Ldap> {
        let mut idle = self.idle.lock().unwrap_or_else(|e| e.into_inner());
        idle.retain_mut(|(_, ldap, since)| since.elapsed() < IDLE_MAX && !ldap.is_closed());
        let at = idle.iter().position(|(server, ..)| *server == index)?;
        Some(idle.swap_remove(at).1)
    }

    /// Keeps a connection that is in order.
    fn done(
        &self,
        index: usize,
        ldap: ldap3::Ldap,
        judged: Result<Proven, Fault>,
    ) -> Result<Proven, Fault> {
        if !matches!(judged, Err(Fault::Server(_))) {
            let mut idle = self.idle.lock().unwrap_or_else(|e| e.into_inner());
            if idle.len() < self.settings.connections_max {
                idle.push((index, ldap, Instant::now()));
            }
        }
        judged
    }

    async fn dial(&self, server: &LdapServer) -> Result<ldap3::Ldap, Fault> {
        let failed = |e: &dyn std::fmt::Display| Fault::Server(e.to_string());
        let found = self.resolver.addresses(&server.host).await;
        let addresses = found.map_err(|e| failed(&e))?;
        let mut last = Fault::Server(format!("{} has no address", server.host));
        for ip in addresses {
            let stream =
                match tokio::net::TcpStream::connect(SocketAddr::new(ip, server.port)).await {
                    Ok(stream) => stream.into_std().map_err(|e| failed(&e))?,
                    Err(e) => {
                        last = failed(&e);
                        continue;
                    }
                };
            let settings = LdapConnSettings::new()
                .set_config(self.tls.get())
                .set_starttls(server.start_tls)
                .set_conn_timeout(self.settings.timeout)
                .set_std_stream(StdStream::Tcp(stream));
            let scheme = if server.start_tls { "ldap" } else { "ldaps" };
            let host = match server.host.contains(':') {
                true => format!("[{}]", server.host),
                false => server.host.clone(),
            };
            let url = format!("{scheme}://{host}:{}", server.port);
            let (connection, ldap) = LdapConnAsync::with_settings(settings, &url).await?;
            // Ends with the last handle to it.
            tokio::spawn(async move {
                if let Err(e) = connection.drive().await {
                    tracing::debug!(error = %e, "a connection to a directory broke");
                }
            });
            return Ok(ldap);
        }
        Err(last)
    }

    async fn judge(
        &self,
        ldap: &mut ldap3::Ldap,
        user: &Pii<String>,
        password: &Secret<String>,
    ) -> Result<Proven, Fault> {
        let typed = user.expose();
        let (dn, entry) = match &self.settings.user {
            LdapUser::Template(template) => {
                let dn = template.replace("{user}", &ldap3::dn_escape(typed.as_str()));
                (dn, None)
            }
            LdapUser::Search { base, filter, bind } => {
                let entry = self.find(ldap, base, filter, bind.as_ref(), typed).await?;
                (entry.dn.clone(), Some(entry))
            }
        };
        if dn.is_empty() {
            return Err(Fault::Wrong(NOBODY));
        }
        let bound = ldap.simple_bind(&dn, password.expose()).await?;
        match bound.rc {
            SUCCESS => {}
            INVALID_CREDENTIALS
            | INAPPROPRIATE_AUTHENTICATION
            | NO_SUCH_OBJECT
            | INVALID_DN_SYNTAX => return Err(Fault::Wrong(WRONG)),
            rc => return Err(Fault::Server(refusal("the user's bind", rc, &bound.text))),
        }
        let entry = match entry {
            Some(entry) => Some(entry),
            None if self.attributes().is_empty() => None,
            // As the user, who may see the own entry.
            None => self.read(ldap, &dn, Scope::Base, "(objectClass=*)").await?,
        };
        Ok(self.proven(typed, entry))
    }

    /// The one entry that a filter finds.
    async fn find(
        &self,
        ldap: &mut ldap3::Ldap,
        base: &str,
        filter: &str,
        bind: Option<&(String, Password)>,
        typed: &str,
    ) -> Result<SearchEntry, Fault> {
        let (dn, secret) = match bind {
            Some((dn, Password::Given(secret))) => (dn.as_str(), secret.expose().as_str()),
            // A kept connection is somebody's else until it is bound anew.
            _ => ("", ""),
        };
        let bound = ldap.simple_bind(dn, secret).await?;
        if bound.rc != SUCCESS {
            let why = refusal("the bind of bind_dn", bound.rc, &bound.text);
            return Err(Fault::Server(why));
        }
        let filter = filter.replace("{user}", &ldap3::ldap_escape(typed));
        let found = self.read(ldap, base, Scope::Subtree, &filter).await?;
        found.ok_or(Fault::Wrong(NOBODY))
    }

    /// The entry of a search, if there is one and no other.
    async fn read(
        &self,
        ldap: &mut ldap3::Ldap,
        base: &str,
        scope: Scope,
        filter: &str,
    ) -> Result<Option<SearchEntry>, Fault> {
        let mut attributes = self.attributes();
        if attributes.is_empty() {
            // RFC 4511 §4.5.1.8: none.
            attributes.push("1.1");
        }
        let seconds = i32::try_from(self.settings.timeout.as_secs()).unwrap_or(60);
        let options = SearchOptions::new().sizelimit(2).timelimit(seconds);
        ldap.with_search_options(options);
        let ldap3::SearchResult(rows, result) =
            ldap.search(base, scope, filter, attributes).await?;
        // References to other servers are no entries.
        let mut rows = rows
            .into_iter()
            .filter(|row| !row.is_ref() && !row.is_intermediate());
        match (result.rc, rows.next(), rows.next()) {
            (NO_SUCH_OBJECT, ..) => Ok(None),
            (_, Some(_), Some(_)) => Err(Fault::Wrong(SEVERAL)),
            (SUCCESS, Some(row), None) => Ok(Some(SearchEntry::construct(row))),
            (SUCCESS, None, _) => Ok(None),
            (rc, ..) => Err(Fault::Server(refusal("the search", rc, &result.text))),
        }
    }

    fn attributes(&self) -> Vec<&str> {
        let settings = &self.settings;
        let both = [&settings.account_attribute, &settings.lines_attribute];
        both.into_iter().flatten().map(String::as_str).collect()
    }

    fn proven(&self, typed: &str, entry: Option<SearchEntry>) -> Proven {
        let values = |attribute: &Option<String>| -> Vec<String> {
            let (Some(name), Some(entry)) = (attribute, &entry) else {
                return Vec::new();
            };
            let is = |(k, _): &(&String, &Vec<String>)| k.eq_ignore_ascii_case(name);
            let found = entry.attrs.iter().find(is).map(|(_, values)| values);
            let fit = |v: &&String| !v.is_empty() && v.len() <= LINE_BYTES_MAX;
            let found = found.into_iter().flatten().filter(fit);
            found.take(LINES_MAX).cloned().collect()
        };
        let account = values(&self.settings.account_attribute).into_iter().next();
        Proven {
            account: account.unwrap_or_else(|| typed.to_owned()),
            lines: values(&self.settings.lines_attribute),
        }
    }
}

/// The first attribute that a filter compares with the name that was typed.
fn named(filter: &str) -> Option<&str> {
    let mut before = filter.split("={user})");
    let (first, _) = (before.next()?, before.next()?);
    let name = first.rsplit('(').next()?;
    let fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ';');
    (!name.is_empty() && name.chars().all(fit)).then_some(name)
}

fn refusal(what: &str, rc: u32, text: &str) -> String {
    let text: String = text.chars().filter(|c| !c.is_control()).take(200).collect();
    let hint = match rc {
        10 => " (a referral, which is not followed: name the server that has the entries)",
        49 => " (check bind_dn and its password)",
        50 => " (bind_dn may not search there)",
        _ => "",
    };
    format!("{what} was answered {rc} {text:?}{hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_attribute_that_a_filter_compares_with_the_name_is_found() {
        let table = [
            ("(uid={user})", Some("uid")),
            ("(&(objectClass=person)(mail={user}))", Some("mail")),
            ("(|(uid={user})(mail={user}))", Some("uid")),
            ("(sAMAccountName={user})", Some("sAMAccountName")),
            ("(uid={user}*)", None),
            ("(uid~={user})", None),
            ("(memberOf:1.2.3:={user})", None),
            ("(uid=alice)", None),
        ];
        for (filter, attribute) in table {
            assert_eq!(named(filter), attribute, "{filter}");
        }
    }

    #[tokio::test]
    async fn two_spellings_that_find_one_entry_are_one_account() {
        let settings = config::Ldap {
            servers: Vec::new(),
            user: LdapUser::Search {
                base: "dc=example".into(),
                filter: "(uid={user})".into(),
                bind: None,
            },
            account_attribute: None,
            lines_attribute: None,
            timeout: Duration::from_secs(1),
            connections_max: 1,
        };
        let nobody = ["127.0.0.1:9".parse().unwrap()];
        let resolver = net::dns::Resolver::new(&nobody, base::Rng::from_number(1)).unwrap();
        let ldap = Ldap::new(
            &settings,
            resolver,
            Live::new(net::tls::inside_client(None, &[]).unwrap()),
        );
        let entry = || SearchEntry {
            dn: "uid=alice,dc=example".into(),
            attrs: [("UID".to_owned(), vec!["alice".to_owned()])].into(),
            bin_attrs: Default::default(),
        };
        assert_eq!(ldap.0.attributes(), ["uid"]);
        for typed in ["alice", "ａlice"] {
            assert_eq!(ldap.0.proven(typed, Some(entry())).account, "alice");
        }
        assert_eq!(ldap.0.proven("bob", None).account, "bob");
    }
}

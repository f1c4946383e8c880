//! UDS, the user data service: who a user is, which devices they have, the directory.
//!
//! Version, cluster, servers and the directory are open to all; a user's own resources want the
//! user's own name and password (401 otherwise, also for somebody else's valid ones, and in a
//! cluster that is not the user's home). Of another cluster's users a node knows where their home
//! is, as long as the clusters tell one another (ILS).

mod record;

use http::Method;

use super::REALM;
use crate::accounts::Accounts;
use crate::changes::Change;
use crate::soap::child;
use crate::web::{Answer, Request, decoded, escaped};
use crate::world::{UNIFIED_CM_VERSION as VERSION, User, World};

/// So many users a search returns unless told otherwise, and at most.
const RETURNED_MAX: usize = 64;

/// The answer to a request below `/cucm-uds/`.
pub fn answer(node: &str, accounts: &Accounts, request: &Request) -> Answer {
    let at = Uds { node, accounts };
    let path = request.path.trim_end_matches('/');
    let parts: Vec<String> = path.split('/').skip(2).map(decoded).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let answer = match (&request.method, parts.as_slice()) {
        (&Method::GET | &Method::HEAD, open) if !matches!(open, ["user", ..]) => {
            at.open(open, request)
        }
        (_, ["user", id, rest @ ..]) => at.own(id, rest, request),
        (_, ["version" | "clusterUser" | "servers" | "users", ..]) => Answer::empty(405),
        _ => Answer::empty(404),
    };
    answer
        .with("cache-control", "private")
        .with("expires", "Wed, 31 Dec 1969 19:00:00 EST")
        .with("x-frame-options", "SAMEORIGIN")
}

/// Where the request arrived.
struct Uds<'a> {
    node: &'a str,
    accounts: &'a Accounts,
}

impl Uds<'_> {
    fn world(&self) -> &World {
        &self.accounts.world
    }

    fn is_other(&self) -> bool {
        let mut others = self.world().other_cluster.iter();
        others.any(|node| node.fqdn == self.node)
    }

    fn uri(&self, path: &str) -> String {
        format!("https://{}:8443/cucm-uds/{path}", self.node)
    }

    /// What everybody may read.
    fn open(&self, parts: &[&str], request: &Request) -> Answer {
        match parts {
            ["version"] => Answer::xml(
                200,
                format!(
                    "<versionInformation uri=\"{}\" version=\"{VERSION}\">\
                     <version>{VERSION}</version>\
                 <capabilities><usersResourceAuthEnabled>false</usersResourceAuthEnabled>\
                 </capabilities></versionInformation>",
                    self.uri("version")
                ),
            ),
            ["clusterUser"] => self.cluster_user(request),
            ["servers"] => {
                let name = |n: &crate::world::Host| format!("<server>{}</server>", n.fqdn);
                let servers: String = self
                    .world()
                    .cluster_of(self.node)
                    .iter()
                    .map(name)
                    .collect();
                let uri = self.uri("servers");
                Answer::xml(
                    200,
                    format!("<servers version=\"{VERSION}\" uri=\"{uri}\">{servers}</servers>"),
                )
            }
            ["users"] => self.search(request),
            ["options", "installedLocales"] => Answer::xml(
                200,
                format!(
                    "<installedLocales uri=\"{}\" version=\"{VERSION}\">\
                     <locale value=\"1\">English, \
                 United States</locale></installedLocales>",
                    self.uri("options/installedLocales")
                ),
            ),
            _ => Answer::empty(404),
        }
    }

    /// Where a user is at home, by name or by mail address.
    fn cluster_user(&self, request: &Request) -> Answer {
        let user = match (request.asked("username"), request.asked("email")) {
            (Some(name), _) => self.world().user(name),
            (None, Some(mail)) => self
                .world()
                .users
                .iter()
                .find(|u| u.jid().eq_ignore_ascii_case(mail)),
            (None, None) => return Answer::empty(400),
        };
        let (key, value) = match request.asked("username") {
            Some(name) => ("username", name),
            None => ("email", request.asked("email").unwrap_or_default()),
        };
        let uri = self.uri(&format!("clusterUser?{key}={}", escaped(value)));
        // Without the lookup service a node knows its own cluster's users only: by turns, some.
        let known = |user: &&User| {
            self.world().is_home(self.node, user) || !self.world().changes.has(Change::IlsOff)
        };
        let sees = |user: &&User| !self.accounts.is_blind(self.node, user);
        let Some(user) = user.filter(known).filter(sees) else {
            return Answer::xml(
                200,
                format!(
                    "<clusterUser version=\"{VERSION}\" uri=\"{uri}\"><result found=\"false\"/>\
                 </clusterUser>"
                ),
            );
        };
        let home = match self.world().is_home(self.node, user) {
            true => self.node,
            false => self.world().home_of(user),
        };
        let at = Uds {
            node: home,
            accounts: self.accounts,
        };
        Answer::xml(
            200,
            format!(
                "<clusterUser version=\"{VERSION}\" uri=\"{uri}\">\
                 <result found=\"true\" uri=\"{}\" \
             version=\"{VERSION}\"/><homeCluster serversUri=\"{}\">{}</homeCluster>\
             <homeClusterDetails><selfProvisioningSecureMode>true</selfProvisioningSecureMode>\
             <adminProvisionMode>false</adminProvisionMode></homeClusterDetails></clusterUser>",
                at.uri(&format!("user/{}", user.name)),
                at.uri("servers"),
                home,
            ),
        )
    }

    /// The directory.
    fn search(&self, request: &Request) -> Answer {
        let number = |key: &str| request.asked(key).map(str::parse::<usize>).transpose();
        let (Ok(start), Ok(max)) = (number("start"), number("max")) else {
            return Answer::empty(400);
        };
        let (start, max) = (
            start.unwrap_or(0),
            max.unwrap_or(RETURNED_MAX).min(RETURNED_MAX),
        );
        let found: Vec<&User> = self
            .world()
            .users
            .iter()
            .filter(|u| wanted(u, request))
            .collect();
        let shown: Vec<&&User> = found.iter().skip(start).take(max).collect();
        let records: String = shown.iter().map(|u| self.listed(u)).collect();
        Answer::xml(
            200,
            format!(
                "<users uri=\"{}\" version=\"{VERSION}\" start=\"{start}\" \
                 requestedCount=\"{max}\" \
             returnedCount=\"{}\" totalCount=\"{}\">{records}</users>",
                self.uri("users"),
                shown.len(),
                found.len(),
            ),
        )
    }

    /// A user's own resources.
    fn own(&self, id: &str, rest: &[&str], request: &Request) -> Answer {
        let user = match (request.basic(), request.bearer()) {
            (Some((name, password)), _) => self.accounts.check(&name, &password),
            (None, Some(token)) => {
                let name = self.accounts.bearers.user(token);
                name.and_then(|name| self.world().user(&name))
            }
            (None, None) => None,
        };
        let locked = !self.is_other() && self.world().changes.has(Change::UsersLocked);
        let here = |u: &&User| {
            let own = u.name.eq_ignore_ascii_case(id);
            own && self.world().is_home(self.node, u) && !locked
        };
        let Some(user) = user.filter(here) else {
            return Answer::unauthorized(REALM);
        };
        let reads = matches!(request.method, Method::GET | Method::HEAD);
        match rest {
            [] if reads => Answer::xml(200, self.user(user)),
            ["devices"] if reads => Answer::xml(
                200,
                format!(
                    "<devices uri=\"{}\" version=\"{VERSION}\">{}</devices>",
                    self.uri(&format!("user/{}/devices", user.name)),
                    self.device(user, false),
                ),
            ),
            ["device", device] if reads && *device == user.device_id => {
                Answer::xml(200, self.device(user, true))
            }
            ["extensions"] if reads => Answer::xml(200, self.extensions(user)),
            ["subscribedServices" | "speedDials" | "remoteDestinations"] if reads => {
                let name = rest[0];
                let uri = self.uri(&format!("user/{}/{name}", user.name));
                Answer::xml(
                    200,
                    format!("<{name} uri=\"{uri}\" version=\"{VERSION}\"/>"),
                )
            }
            ["credentials"] if reads => Answer::xml(200, self.credentials(user)),
            ["credentials"] if request.method == Method::PUT => self.change(user, request),
            [] | ["devices" | "extensions" | "credentials"] => Answer::empty(405),
            _ => Answer::empty(404),
        }
    }

    /// `PUT …/credentials` with a new password or PIN.
    fn change(&self, user: &User, request: &Request) -> Answer {
        let document =
            minidom::Element::from_reader_with_prefixes(&request.body[..], String::new());
        let given = document.ok().filter(|d| d.name() == "credentials");
        let Some(given) = given.as_ref().and_then(|d| child(d, "credential")) else {
            return Answer::empty(400);
        };
        let text = given.text();
        match given.attr("type") {
            Some("password") if text.len() >= 4 => self.accounts.change(user, &text),
            Some("pin") if text.len() >= 4 => {}
            _ => return Answer::empty(400),
        }
        Answer::empty(204)
    }
}

/// Starts-with on first name, last name and mail address; two words are first and last name in
/// either order.
fn wanted(user: &User, request: &Request) -> bool {
    let starts = |value: &str, with: &str| value.to_lowercase().starts_with(&with.to_lowercase());
    let asked = |key: &str, value: &str| request.asked(key).is_none_or(|with| starts(value, with));
    let named = |text: &str| {
        let words: Vec<&str> = text.split_whitespace().collect();
        match words.as_slice() {
            [] => true,
            [one] => [&user.first, &user.last, &user.jid()]
                .iter()
                .any(|v| starts(v, one)),
            [one, two] => {
                starts(&user.first, one) && starts(&user.last, two)
                    || starts(&user.last, one) && starts(&user.first, two)
            }
            _ => false,
        }
    };
    request.asked("name").is_none_or(named)
        && asked("first", &user.first)
        && asked("last", &user.last)
        && asked("number", &user.extension)
        && asked("username", &user.name)
        && asked("email", &user.jid())
}

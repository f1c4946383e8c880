//! One person outside, with all that a client does.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use hyper::Method;
use tokio::sync::mpsc;

use super::browser::Browser;
use super::chat::{Chat, Place, Proof};
use super::discovery::{Edge, discover, trust};
use super::edge_config::{EdgeConfig, child, descendant, element};
use super::soap::one_time_password;
use super::web::{Asked, Identity, Reply, Web, lane};
use crate::file::{LabFile, UnifiedCm, User};
use crate::ladder::Recorder;
use crate::names::Names;
use crate::sip::agent::{Agent, Profile};
use crate::sip::stack::{Incoming, Setup, Stack};

const USER_AGENT: &str = "Cisco-CSF";

/// A remote client.
pub(crate) struct Remote {
    /// The user.
    pub(crate) user: User,
    /// The services domain.
    pub(crate) domain: String,
    /// What its telephone registers at: the domain, or a node of the other cluster by name, as
    /// device files have it.
    registrar: String,
    /// The address of its device.
    pub(crate) local: IpAddr,
    /// The edge it found.
    pub(crate) edge: Edge,
    /// Its HTTPS.
    pub(crate) web: Web,
    /// What it was told at sign-in.
    pub(crate) config: Option<EdgeConfig>,
    identity: Identity,
    tls: Arc<rustls::ClientConfig>,
    names: Names,
    recorder: Recorder,
}

/// A registered device and who is behind it.
pub(crate) struct Telephone {
    /// The user agent.
    pub(crate) agent: Agent,
    /// Its user.
    pub(crate) user: String,
}

impl Remote {
    /// Finds the edge of the lab's domain and readies a client of that user.
    ///
    /// # Errors
    /// The domain publishes no edge, or the authority's file cannot be read.
    pub(crate) async fn discover(
        lab: &LabFile,
        user: &User,
        recorder: &Recorder,
    ) -> Result<Remote> {
        let names = Names::new(lab.dns)?;
        let edges = discover(&names, &lab.domain).await?;
        let edge = edges.into_iter().next().context("no edge")?;
        let tls = trust(&lab.ca)?;
        let number = lab
            .users
            .iter()
            .position(|known| known.name == user.name)
            .unwrap_or(0);
        let local = own_address(edge.https.ip(), number);
        let web = Web::new(
            local,
            edge.https,
            &edge.name,
            Arc::clone(&tls),
            recorder.of("client"),
        );
        let away = |node: &&UnifiedCm| node.name == user.home;
        let registrar = lab.inside.other_cluster.iter().find(away);
        Ok(Remote {
            user: user.clone(),
            registrar: registrar.map_or(&lab.domain, |node| &node.name).clone(),
            domain: lab.domain.clone(),
            local,
            edge,
            web,
            config: None,
            identity: Identity::default(),
            tls,
            names,
            recorder: recorder.of("client"),
        })
    }

    /// Asks `get_edge_config` with that password for that domain, and remembers what it is told.
    ///
    /// # Errors
    /// No answer; a refusal is a [`Reply`].
    pub(crate) async fn sign_in(&mut self, domain: &str, password: &str) -> Result<Reply> {
        let who = Identity {
            basic: Some((self.user.name.clone(), password.to_owned())),
            ..Identity::default()
        };
        self.sign_in_as(domain, who).await
    }

    /// The same by a bearer token.
    ///
    /// # Errors
    /// As of [`Remote::sign_in`].
    pub(crate) async fn sign_in_by_token(&mut self, domain: &str, token: &str) -> Result<Reply> {
        let who = Identity {
            bearer: Some(token.to_owned()),
            ..Identity::default()
        };
        self.sign_in_as(domain, who).await
    }

    async fn sign_in_as(&mut self, domain: &str, who: Identity) -> Result<Reply> {
        let path = format!(
            "/{}/get_edge_config?service_name=_cisco-uds&service_name=_cuplogin",
            lane(domain, None)
        );
        let reply = self.web.send(&who, get(&path)).await?;
        if reply.status == 200 {
            let config = EdgeConfig::read(&reply.body)?;
            // Who comes with a session's own token has it already.
            let token = cookie(&reply).or_else(|| who.bearer.clone());
            let token = token.context("a 200 without the X-Auth cookie")?;
            self.identity = Identity {
                token: Some(token),
                ..who
            };
            self.config = Some(config);
        }
        Ok(reply)
    }

    /// Asks a server inside, by the lane to it, with password and cookie.
    ///
    /// # Errors
    /// No answer; a refusal is a [`Reply`].
    pub(crate) async fn ask(&self, server: (&str, &str, u16), path: &str) -> Result<Reply> {
        let path = format!("/{}{path}", lane(&self.domain, Some(server)));
        self.web.send(&self.identity, get(&path)).await
    }

    /// Asks without cookie or password.
    ///
    /// # Errors
    /// No answer; a refusal is a [`Reply`].
    pub(crate) async fn ask_as_a_stranger(
        &self,
        server: (&str, &str, u16),
        path: &str,
    ) -> Result<Reply> {
        let path = format!("/{}{path}", lane(&self.domain, Some(server)));
        self.web.send(&Identity::default(), get(&path)).await
    }

    /// The user's UDS server, as sign-in told it.
    pub(crate) fn uds(&self) -> Result<(&str, &str, u16)> {
        let config = self.config.as_ref().context("not signed in")?;
        let (host, port) = config.uds.first().context("no UDS server")?;
        Ok(("https", host, *port))
    }

    /// Asks UDS and reads the XML.
    ///
    /// # Errors
    /// Another status than 200, or no XML.
    pub(crate) async fn ask_uds(&self, path: &str) -> Result<minidom::Element> {
        let reply = self.ask(self.uds()?, path).await?;
        if reply.status != 200 {
            bail!("{path} was answered {}", reply.status);
        }
        element(&reply.body)
    }

    /// Names of the user's devices.
    ///
    /// # Errors
    /// As of [`Remote::ask_uds`].
    pub(crate) async fn devices(&self) -> Result<Vec<String>> {
        let devices = self
            .ask_uds(&format!("/cucm-uds/user/{}/devices", self.user.name))
            .await?;
        let names = devices
            .children()
            .filter_map(|device| child(device, "name"));
        Ok(names.map(minidom::Element::text).collect())
    }

    /// The presence server that the user's UDS record names.
    ///
    /// # Errors
    /// As of [`Remote::ask_uds`], or it names none.
    pub(crate) async fn presence_server(&self) -> Result<String> {
        let user = self
            .ask_uds(&format!("/cucm-uds/user/{}", self.user.name))
            .await?;
        let server = descendant(&user, "imAndPresence").and_then(|list| child(list, "server"));
        Ok(server.context("the user has no presence server")?.text())
    }

    /// A telephone with the user's device, not yet registered.
    ///
    /// # Errors
    /// Not signed in, or the edge's name does not resolve.
    pub(crate) async fn telephone(&self, hz: f64) -> Result<Telephone> {
        self.telephone_with_token(hz, None).await
    }

    /// The same; it shows Unified CM that token beside the digest that the edge asks for.
    ///
    /// # Errors
    /// As of [`Remote::telephone`].
    pub(crate) async fn telephone_with_token(
        &self,
        hz: f64,
        bearer: Option<String>,
    ) -> Result<Telephone> {
        let config = self.config.as_ref().context("not signed in")?;
        let (host, port) = config.sip.first().context("no SIP edge")?;
        let address = self.names.address(host).await?;
        let (stack, incoming) = self.stack();
        let credentials = self
            .identity
            .basic
            .clone()
            .context("a password, which the digest needs")?;
        let profile = Profile {
            extension: self.user.extension.clone(),
            domain: self.registrar.clone(),
            credentials: Some(credentials),
            bearer,
            device: Some(self.user.device.clone()),
            uplink: (SocketAddr::new(address, *port), Some(host.clone())),
            route: config.route.clone(),
            media: self.local,
            secure: true,
            hz,
            port: None,
        };
        let agent = Agent::start(stack, incoming, profile);
        Ok(Telephone {
            agent,
            user: self.user.name.clone(),
        })
    }

    /// A SIP stack at the client's address.
    pub(crate) fn stack(&self) -> (Stack, mpsc::Receiver<Incoming>) {
        Stack::new(Setup {
            local: self.local,
            agent: USER_AGENT,
            names: Some(self.names.clone()),
            dialing: Some(Arc::clone(&self.tls)),
            recorder: self.recorder.clone(),
        })
    }

    /// A browser on the same machine.
    pub(crate) fn browser(&self) -> Browser {
        let (tls, names) = (Arc::clone(&self.tls), self.names.clone());
        Browser::new(self.local, tls, names, self.recorder.clone())
    }

    /// The token that sign-in gave.
    pub(crate) fn token(&self) -> Option<String> {
        self.identity.token.clone()
    }

    /// Chat, with a one-time password fetched through the edge.
    ///
    /// # Errors
    /// Not signed in, or refused.
    pub(crate) async fn chat(&self) -> Result<Chat> {
        let config = self.config.as_ref().context("not signed in")?;
        let (host, port) = config.xmpp.first().context("no XMPP edge")?;
        let address = self.names.address(host).await?;
        let presence = self.presence_server().await?;
        let (name, password) = self
            .identity
            .basic
            .as_ref()
            .context("a password, which presence needs")?;
        let lane = lane(&self.domain, Some(("https", &presence, 8443)));
        let token = one_time_password(&self.web, &self.identity, &lane, (name, password)).await;
        let proof = Proof::OneTime {
            token: token.context("a one-time password for XMPP")?,
            password: password.clone(),
        };
        let place = Place {
            local: self.local,
            server: (address, *port).into(),
            domain: self.domain.clone(),
            tls: Arc::clone(&self.tls),
            recorder: self.recorder.clone(),
        };
        Chat::open(place, name, &proof).await
    }
}

/// Chat of a user inside, right at the server, with the password.
///
/// # Errors
/// Refused.
pub(crate) async fn chat_inside(lab: &LabFile, user: &User, recorder: &Recorder) -> Result<Chat> {
    let node = lab
        .inside
        .im_presence
        .first()
        .context("the lab has no presence server")?;
    let place = Place {
        local: if node.xmpp.is_ipv4() {
            Ipv4Addr::UNSPECIFIED.into()
        } else {
            node.xmpp.ip()
        },
        server: node.xmpp,
        domain: lab.domain.clone(),
        tls: trust(&lab.ca)?,
        recorder: recorder.of("inside"),
    };
    Chat::open(place, &user.name, &Proof::Password(user.password.clone())).await
}

fn get(path: &str) -> Asked<'_> {
    Asked {
        method: Method::GET,
        path,
        body: None,
        headers: &[],
    }
}

/// The `X-Auth` cookie of an answer.
fn cookie(reply: &Reply) -> Option<String> {
    let cookies = reply
        .headers
        .get_all("set-cookie")
        .iter()
        .filter_map(|v| v.to_str().ok());
    let mut values = cookies.filter_map(|cookie| cookie.trim().strip_prefix("X-Auth="));
    values
        .next()
        .and_then(|value| value.split(';').next())
        .map(str::to_owned)
}

/// An address of its own for each client on loopback, where the edge is; elsewhere the system
/// chooses.
fn own_address(edge: IpAddr, number: usize) -> IpAddr {
    if edge.is_loopback() && edge.is_ipv4() {
        let host = (number % (250 * 250)) as u32;
        let [third, fourth] = [4 + host / 250, 1 + host % 250].map(|part| part as u8);
        return Ipv4Addr::new(127, 0, third, fourth).into();
    }
    let probe = std::net::UdpSocket::bind(if edge.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    });
    let asked = probe.and_then(|socket| {
        socket.connect((edge, 8443))?;
        socket.local_addr()
    });
    asked.map_or(edge, |address| address.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_on_loopback_have_addresses_of_their_own() {
        let edge = "127.0.1.1".parse().unwrap();
        assert_eq!(own_address(edge, 0).to_string(), "127.0.4.1");
        assert_eq!(own_address(edge, 250).to_string(), "127.0.5.1");
    }
}

//! a and b: finding the edge, and signing in.

use std::sync::Arc;

use anyhow::{Context, Result};

use super::Stage;
use super::report::{Report, ensure};
use crate::client::{EdgeConfig, Remote, Reply, Web, discover, trust};
use crate::names::Names;

/// Both chapters.
pub(super) async fn walk(stage: &mut Stage, report: &mut Report) {
    report.part('a', "Find the edge");
    let remote = report
        .step("the public DNS tells where the edge is", async {
            find(stage).await
        })
        .await;
    report
        .step("TLS, and its certificate shows the edge's name", async {
            tls(remote.as_ref().context("no edge was found")?).await
        })
        .await;
    report
        .step("the same edge by another name is not trusted", async {
            other_name(stage).await
        })
        .await;
    report.part('b', "Sign in");
    let mut remote = remote;
    report
        .step("a wrong password is refused", async {
            wrong_password(remote.as_mut().context("no edge was found")?).await
        })
        .await;
    report
        .step("a domain that is not served is refused", async {
            other_domain(remote.as_mut().context("no edge was found")?).await
        })
        .await;
    report
        .step("alice's own password opens, the answer is whole", async {
            sign_in(stage, remote.as_mut().context("no edge was found")?).await
        })
        .await;
    stage.alice = remote;
}

async fn find(stage: &Stage) -> Result<(Remote, String)> {
    let user = stage.user("alice")?;
    let remote = Remote::discover(&stage.house.file, user, &stage.recorder).await?;
    let edge = &stage.house.file.edges;
    let known = edge
        .iter()
        .any(|edge| edge.fqdn == remote.edge.name && edge.https == remote.edge.https);
    ensure(known, || {
        format!("{:?} is none of the lab's edges", remote.edge)
    })?;
    let detail = format!(
        "_collab-edge._tls.{} → {}:{}",
        remote.domain,
        remote.edge.name,
        remote.edge.https.port()
    );
    Ok((remote, detail))
}

async fn tls(remote: &Remote) -> Result<((), String)> {
    let facts = remote.web.open().await?;
    Ok(((), format!("{}, {facts}", remote.edge.name)))
}

/// The name check is real only if a wrong name fails.
async fn other_name(stage: &Stage) -> Result<((), String)> {
    let file = &stage.house.file;
    let names = Names::new(file.dns)?;
    let edges = discover(&names, &file.domain).await?;
    let edge = edges.first().context("no edge was found")?;
    let tls = trust(&file.ca)?;
    let local = std::net::Ipv4Addr::UNSPECIFIED.into();
    let wrong = format!("mallory.{}", file.domain);
    let web = Web::new(
        local,
        edge.https,
        &wrong,
        Arc::clone(&tls),
        stage.recorder.clone(),
    );
    let fault = web
        .open()
        .await
        .err()
        .context("the client took a certificate for another name")?;
    let text = format!("{fault:#}");
    ensure(text.contains("not valid for name"), || text.clone())?;
    Ok(((), format!("{wrong}: certificate not valid for name")))
}

async fn wrong_password(remote: &mut Remote) -> Result<((), String)> {
    let domain = remote.domain.clone();
    let reply = remote.sign_in(&domain, "not-the-password").await?;
    expect(&reply, 401)?;
    let challenge = reply
        .header("www-authenticate")
        .unwrap_or_default()
        .to_owned();
    ensure(challenge.starts_with("Basic realm="), || {
        format!("challenge {challenge:?}")
    })?;
    Ok(((), format!("401, {challenge}")))
}

async fn other_domain(remote: &mut Remote) -> Result<((), String)> {
    let password = remote.user.password.clone();
    let reply = remote.sign_in("elsewhere.test", &password).await?;
    expect(&reply, 403)?;
    Ok(((), "elsewhere.test: 403".to_owned()))
}

/// Signs in and looks at each field that a client needs.
pub(super) async fn sign_in(stage: &Stage, remote: &mut Remote) -> Result<((), String)> {
    let domain = remote.domain.clone();
    let password = remote.user.password.clone();
    let reply = remote.sign_in(&domain, &password).await?;
    expect(&reply, 200)?;
    let config = remote.config.as_ref().context("no configuration")?;
    check(stage, remote, config)?;
    let cookie = reply.header("set-cookie").unwrap_or_default();
    for part in ["X-Auth=", "Secure", "Path=/", "Domain="] {
        ensure(cookie.contains(part), || format!("the cookie lacks {part}"))?;
    }
    let uds = config
        .uds
        .first()
        .map(|(host, _)| host.as_str())
        .unwrap_or_default();
    Ok((
        (),
        format!(
            "200, UDS {uds}, SIP, XMPP and HTTPS at {}",
            remote.edge.name
        ),
    ))
}

fn check(stage: &Stage, remote: &Remote, config: &EdgeConfig) -> Result<()> {
    let edge = stage
        .house
        .file
        .edges
        .iter()
        .find(|edge| edge.fqdn == remote.edge.name);
    let edge = edge.context("an edge of the lab")?;
    let places = [
        ("sipEdgeServer", &config.sip, edge.sip.port()),
        ("xmppEdgeServer", &config.xmpp, edge.xmpp.port()),
        ("httpEdgeServer", &config.https, edge.https.port()),
    ];
    for (name, list, port) in places {
        let here = list
            .iter()
            .any(|(host, at)| *host == edge.fqdn && *at == port);
        ensure(here, || {
            format!("{name} is {list:?}, not {}:{port}", edge.fqdn)
        })?;
    }
    let cluster: Vec<&str> = stage
        .house
        .file
        .inside
        .unified_cm
        .iter()
        .map(|node| node.name.as_str())
        .collect();
    let (uds, port) = config.uds.first().context("no userUdsServer")?;
    ensure(cluster.contains(&uds.as_str()) && *port == 8443, || {
        format!("UDS is {uds}:{port}")
    })?;
    let found = config
        .services
        .iter()
        .find(|(name, _)| name == "_cisco-uds");
    let (_, servers) = found.context("no answer about _cisco-uds")?;
    let known = servers
        .iter()
        .any(|(host, _)| cluster.contains(&host.as_str()));
    ensure(known, || format!("_cisco-uds is {servers:?}"))?;
    let files = config
        .files
        .iter()
        .any(|host| cluster.contains(&host.as_str()));
    ensure(files, || format!("tftpServer is {:?}", config.files))
}

/// An error unless the status is as expected, with what the answer says of itself.
pub(super) fn expect(reply: &Reply, status: u16) -> Result<()> {
    ensure(reply.status == status, || {
        let text: String = reply.text().chars().take(120).collect();
        format!("{status} was expected, {} came: {text}", reply.status)
    })
}

//! l: an identity provider vouches for users: by OpenID Connect, by SAML, and by bearer tokens.

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Stage;
use super::report::{Report, ensure};
use super::signin::expect;
use crate::client::{Browser, Page, Remote, lane, value_of};
use crate::identity::{CLIENT, TELEPHONE, TELEPHONE_BACK};
use crate::web::encoded;
use crate::world::{OIDC_DOMAIN, SAML_DOMAIN, secret};

const HZ: f64 = 770.0;

/// l.
pub(super) async fn walk(stage: &mut Stage, report: &mut Report) {
    let tokens = chapter(stage, report).await;
    stage.secrets.extend(tokens);
}

/// The tokens that were given.
async fn chapter(stage: &Stage, report: &mut Report) -> Vec<String> {
    report.part('l', "Sign in by an identity provider");
    let mut browser = None;
    let session = report
        .step("OpenID Connect: grace logs in with a browser", async {
            let remote = remote(stage, "grace").await?;
            browser = Some(remote.browser());
            let browser = browser.as_mut().context("a browser")?;
            by_oidc(&remote, browser).await
        })
        .await;
    report
        .step("her session is a bearer token: get_edge_config", async {
            let token = session.as_ref().context("grace is not signed in")?;
            by_token(stage, "grace", OIDC_DOMAIN, token)
                .await
                .map(|(_, told)| ((), told))
        })
        .await;
    report
        .step("SAML: heidi logs in with a browser", async {
            let token = by_saml(stage).await?;
            by_token(stage, "heidi", SAML_DOMAIN, &token)
                .await
                .map(|(_, told)| ((), told))
        })
        .await;
    let token = report
        .step("grace's telephone gets a token without a password", async {
            let browser = browser.as_mut().context("grace has no browser")?;
            own_token(stage, browser).await
        })
        .await;
    report
        .step("it opens get_edge_config and her UDS record", async {
            let token = token.as_ref().context("no token")?;
            let (remote, told) = by_token(stage, "grace", OIDC_DOMAIN, token).await?;
            let devices = remote.devices().await?;
            ensure(devices.contains(&remote.user.device), || {
                format!("{devices:?}")
            })?;
            Ok(((), format!("{told}, {}", devices.join(" "))))
        })
        .await;
    report
        .step("and proves her to Unified CM over SIP", async {
            registers(stage, token.as_ref().context("no token")?).await
        })
        .await;
    report
        .step("a token of nobody opens nothing", async {
            let token = token.as_ref().context("no token")?;
            let (head, _) = token.rsplit_once('.').context("a token in parts")?;
            let forged = format!("{head}.{}", "A".repeat(342));
            let mut remote = self::remote(stage, "grace").await?;
            let reply = remote.sign_in_by_token(OIDC_DOMAIN, &forged).await?;
            expect(&reply, 401)?;
            let told = reply.header("www-authenticate").unwrap_or_default();
            Ok(((), format!("401, {told}")))
        })
        .await;
    session.into_iter().chain(token).collect()
}

async fn remote(stage: &Stage, name: &str) -> Result<Remote> {
    Remote::discover(&stage.house.file, stage.user(name)?, &stage.recorder).await
}

/// An address of the edge's own lane.
fn edge(remote: &Remote, domain: &str, path: &str) -> String {
    let (name, port) = (&remote.edge.name, remote.edge.https.port());
    format!("https://{name}:{port}/{}/{path}", lane(domain, None))
}

/// What browsers are told of where to begin, and the provider's page that follows.
async fn begin(remote: &Remote, browser: &mut Browser, domain: &str) -> Result<Page> {
    let asked = format!("get_edge_sso?email={}@{domain}", remote.user.name);
    let offered = browser.open(&edge(remote, domain, &asked)).await?;
    expect(&offered.reply, 200)?;
    let answer = crate::client::element(&offered.reply.body)?;
    let url = crate::client::child(&answer, "authorizeUrl").context("no authorizeUrl")?;
    let begun = browser.open(&format!("{}?state=mine", url.text())).await?;
    let page = browser.open(begun.leads_to()?).await?;
    expect(&page.reply, 200)?;
    Ok(page)
}

/// The session's token.
async fn by_oidc(remote: &Remote, browser: &mut Browser) -> Result<(String, String)> {
    let page = begin(remote, browser, OIDC_DOMAIN).await?;
    let user = &remote.user;
    let wrong = [("user", user.name.as_str()), ("password", "wrong")];
    expect(&browser.send(&page, &wrong).await?.reply, 403)?;
    let right = [("user", user.name.as_str()), ("password", &user.password)];
    let sent_back = browser.send(&page, &right).await?;
    let back = sent_back.leads_to()?.to_owned();
    let done = browser.open(&back).await?;
    let token = session(&done)?;
    let again = browser.open(&back).await?;
    expect(&again.reply, 403)?;
    let at = page.url.split('?').next().unwrap_or_default();
    Ok((
        token,
        format!("302 to {at}, back with a code, which counts once"),
    ))
}

/// What the last page of a log-in gives.
fn session(done: &Page) -> Result<String> {
    let cookies = done.reply.headers.get_all("set-cookie").iter();
    let mut cookies = cookies.filter_map(|c| c.to_str().ok()?.strip_prefix("X-Auth="));
    let cookie = cookies.next().and_then(|c| c.split(';').next());
    let told = done
        .reply
        .header("location")
        .and_then(|url| value_of(url, "access_token"));
    let token = told.or_else(|| cookie.map(str::to_owned));
    token.with_context(|| {
        format!(
            "{} and no session: {}",
            done.reply.status,
            done.reply.text()
        )
    })
}

async fn by_saml(stage: &Stage) -> Result<String> {
    let remote = remote(stage, "heidi").await?;
    let mut browser = remote.browser();
    let page = begin(&remote, &mut browser, SAML_DOMAIN).await?;
    let user = &remote.user;
    let right = [("user", user.name.as_str()), ("password", &user.password)];
    let signed = browser.send(&page, &right).await?;
    expect(&signed.reply, 200)?;
    let done = browser.send(&signed, &[]).await?;
    let token = session(&done)?;
    let again = browser.send(&signed, &[]).await?;
    expect(&again.reply, 403)?;
    Ok(token)
}

async fn by_token(
    stage: &Stage,
    name: &str,
    domain: &str,
    token: &str,
) -> Result<(Remote, String)> {
    let mut remote = remote(stage, name).await?;
    let reply = remote.sign_in_by_token(domain, token).await?;
    expect(&reply, 200)?;
    remote.domain = domain.to_owned();
    let uds = remote.uds()?.1.to_owned();
    Ok((
        remote,
        format!("200 on 8443 by Authorization: Bearer, UDS {uds}"),
    ))
}

/// The telephone's own log-in at the provider, which knows the browser already (RFC 8252).
async fn own_token(stage: &Stage, browser: &mut Browser) -> Result<(String, String)> {
    let provider = &stage.house.inside.provider;
    let issuer = provider.issuer();
    let found = browser
        .open(&format!("{issuer}/.well-known/openid-configuration"))
        .await?;
    let found: Value = serde_json::from_slice(&found.reply.body)?;
    let place = |name: &str| found[name].as_str().map(str::to_owned).context("a place");
    let verifier = secret(64);
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&verifier));
    let asked = format!(
        "{}?response_type=code&client_id={TELEPHONE}&redirect_uri={}&scope=openid&state=own\
         &code_challenge={challenge}&code_challenge_method=S256",
        place("authorization_endpoint")?,
        encoded(TELEPHONE_BACK),
    );
    let sent_back = browser.open(&asked).await?;
    let code = value_of(sent_back.leads_to()?, "code").context("no code")?;
    let form = [
        ("grant_type", "authorization_code"),
        ("client_id", TELEPHONE),
        ("code", &code),
        ("redirect_uri", TELEPHONE_BACK),
        ("code_verifier", &verifier),
    ];
    let answer = browser.post(&place("token_endpoint")?, &form).await?;
    expect(&answer.reply, 200)?;
    let answer: Value = serde_json::from_slice(&answer.reply.body)?;
    let token = answer["access_token"].as_str().context("no access_token")?;
    Ok((
        token.to_owned(),
        format!("RS256, for {CLIENT}, of {issuer}"),
    ))
}

/// Digest for the edge, token for call control.
async fn registers(stage: &Stage, token: &str) -> Result<((), String)> {
    let line_side = stage.house.inside.line_side.as_ref();
    let line_side = line_side.context("call control is a real one")?;
    let mut remote = remote(stage, "grace").await?;
    let (domain, password) = (remote.domain.clone(), remote.user.password.clone());
    expect(&remote.sign_in(&domain, &password).await?, 200)?;
    let forged = remote
        .telephone_with_token(HZ, Some(format!("{token}x")))
        .await?;
    let refused = forged.agent.register().await;
    forged.agent.stack().stop();
    ensure(refused.is_err(), || "a forged token registered".into())?;
    let telephone = remote
        .telephone_with_token(HZ, Some(token.to_owned()))
        .await?;
    let registered = telephone.agent.register().await;
    let rows = line_side.registrations();
    if registered.is_ok() {
        telephone.agent.unregister().await?;
    }
    telephone.agent.stack().stop();
    let seconds = registered?.expires_s;
    let row = rows
        .iter()
        .find(|row| row.extension == remote.user.extension);
    let row = row.context("Unified CM does not know her")?;
    ensure(row.by_token, || "Unified CM saw no token".into())?;
    let who = &row.extension;
    Ok((
        (),
        format!("{who} for {seconds} s; a forged one is refused"),
    ))
}

//! Registering as a Cisco client does: `+sip.instance`, device and model, `optionsind`.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use sipx_sip::{HeaderName, Method, Request, Response};

use super::Agent;
use crate::sip::message;

/// What a client asks for; Unified CM answers with less.
const ASKED_S: u32 = 3600;
const MODEL: &str = "503";
const SUPPORTED: &str = "replaces,join,norefersub,extended-refer,X-cisco-callinfo,\
    X-cisco-serviceuri,X-cisco-escapecodes,X-cisco-service-control,X-cisco-srtp-fallback,\
    X-cisco-monrec,X-cisco-config,X-cisco-sis-7.0.0,X-cisco-xsi-8.5.1";
const BOUNDARY: &str = "uniqueBoundary";

/// What a registration is about, from one REGISTER to the next.
#[derive(Default)]
pub(super) struct State {
    call_id: String,
    number: u32,
}

impl State {
    /// The Call-ID of every REGISTER.
    pub(super) fn call_id(&self) -> &str {
        &self.call_id
    }
}

/// What the registrar answered.
#[derive(Clone, Debug)]
pub(crate) struct Registered {
    /// Seconds it is good for.
    pub(crate) expires_s: u32,
    /// Realm and algorithm of the challenge on the way.
    pub(crate) realm: Option<(String, &'static str)>,
    /// Whether Unified CM took it for a new one.
    pub(crate) is_new: bool,
    /// The Contact as it came back.
    pub(crate) contact: String,
    /// Whether Unified CM answered the client's options.
    pub(crate) options: bool,
    /// Who answered.
    pub(crate) server: String,
    /// The REGISTER's Call-ID, the same from one refresh to the next.
    pub(crate) call_id: String,
}

impl Agent {
    /// Registers, or refreshes.
    ///
    /// # Errors
    /// Refused, with status and reason.
    pub(crate) async fn register(&self) -> Result<Registered> {
        self.register_at("").await
    }

    /// Registers as a device with a secure profile does: over TLS on the whole of the way.
    ///
    /// # Errors
    /// As [`Agent::register`] has them.
    pub(crate) async fn register_over_tls(&self) -> Result<Registered> {
        self.register_at(";transport=tls").await
    }

    async fn register_at(&self, parameters: &str) -> Result<Registered> {
        let (response, call_id) = self.send_register(ASKED_S, parameters).await?;
        let contact = message::text(&response.headers, &HeaderName::Contact).unwrap_or_default();
        let expires = message::text(&response.headers, &HeaderName::Expires);
        let expires_s = expires
            .or_else(|| parameter(&contact, "expires"))
            .and_then(|text| text.parse().ok())
            .context("a 200 that says for how long")?;
        let body = String::from_utf8_lossy(response.body()).into_owned();
        Ok(Registered {
            expires_s,
            realm: self.0.credentials.lock().await.realm(),
            is_new: contact.contains(";x-cisco-newreg"),
            contact,
            options: body.contains("<optionsind>"),
            server: message::text(&response.headers, &HeaderName::Server).unwrap_or_default(),
            call_id,
        })
    }

    /// Takes the registration back.
    pub(crate) async fn unregister(&self) -> Result<()> {
        self.send_register(0, "").await?;
        Ok(())
    }

    /// CRLF to the uplink, and its answer.
    pub(crate) async fn keep_alive(&self) -> Result<Duration> {
        let flow = self.uplink().await?;
        self.0.stack.ping(&flow, Duration::from_secs(5)).await
    }

    /// A STUN binding request to the uplink on the SIP connection, and its answer.
    pub(crate) async fn bind(&self) -> Result<Duration> {
        let flow = self.uplink().await?;
        self.0.stack.bind(&flow, Duration::from_secs(5)).await
    }

    /// Tells a standby node that it is there, which changes nothing about its registrations.
    ///
    /// # Errors
    /// Refused, with status and reason.
    pub(crate) async fn stand_by(&self) -> Result<()> {
        self.send_register_with(0, "", ";expires=0;cisco-keep-alive")
            .await?;
        Ok(())
    }

    async fn send_register(&self, expires_s: u32, parameters: &str) -> Result<(Response, String)> {
        self.send_register_with(expires_s, parameters, "").await
    }

    /// A REGISTER with parameters of its Request-URI and of its Contact.
    async fn send_register_with(
        &self,
        expires_s: u32,
        parameters: &str,
        mark: &str,
    ) -> Result<(Response, String)> {
        let flow = self.uplink().await?;
        let mut state = self.0.registration.lock().await;
        if state.call_id.is_empty() {
            state.call_id = format!("{}@{}", uuid(), flow.local.ip());
        }
        state.number += 1;
        let domain = format!("sip:{}{parameters}", self.0.profile.domain);
        let mut request = self.request(
            Method::Register,
            &domain,
            &self.address(),
            &state.call_id,
            state.number,
        )?;
        let instance = &self.0.contact;
        let mut contact = format!(
            "<{}>;+sip.instance=\"<urn:uuid:{instance}>\"",
            self.contact(&flow)
        );
        if let Some(device) = &self.0.profile.device {
            contact += &format!(";+u.sip!devicename.ccm.cisco.com=\"{device}\"");
            contact += &format!(";+u.sip!model.ccm.cisco.com=\"{MODEL}\"");
        }
        contact += mark;
        let headers = &mut request.headers;
        message::add(headers, HeaderName::Contact, contact)?;
        message::add(
            headers,
            HeaderName::Supported,
            format!("path,outbound,gruu,{SUPPORTED}"),
        )?;
        message::add(headers, HeaderName::Expires, expires_s.to_string())?;
        if self.0.profile.device.is_some() && expires_s > 0 {
            add_options(&mut request)?;
        }
        let (answers, response) = self.send(&flow, request).await?;
        state.number = message::sequence(&answers.request().headers).unwrap_or(state.number);
        let status = response.status.code();
        if status != 200 {
            let reason = String::from_utf8_lossy(&response.reason);
            let warning =
                message::text(&response.headers, &HeaderName::Warning).unwrap_or_default();
            bail!("REGISTER was answered {status} {reason} {warning}");
        }
        Ok((response, state.call_id.clone()))
    }
}

/// The body by which a client registers all its lines and tells its options.
fn add_options(request: &mut Request) -> Result<()> {
    let part = |content: &str| {
        format!(
            "--{BOUNDARY}\r\nContent-Type: application/x-cisco-remotecc-request+xml\r\n\
             Content-Disposition: session;handling=optional\r\n\r\n\
             <?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<x-cisco-remotecc-request>{content}\
             </x-cisco-remotecc-request>\r\n"
        )
    };
    let body =
        part("<bulkregisterreq><contact all=\"true\"><register/></contact></bulkregisterreq>")
            + &part(
                "<optionsind><combine max=\"6\"><remotecc><status/></remotecc><service-control/>\
             </combine><dialog usage=\"hook status\"><unot/><sub/></dialog><presence \
             usage=\"blf speed dial\"><unot/><sub/></presence><joinreq/><bfcp/></optionsind>",
            )
            + &format!("--{BOUNDARY}--\r\n");
    let kind = format!("multipart/mixed; boundary={BOUNDARY}");
    message::add(&mut request.headers, HeaderName::MimeVersion, "1.0")?;
    message::set_body(&mut request.headers, &kind, body.len())?;
    request.set_body(body.into());
    Ok(())
}

fn parameter(value: &str, name: &str) -> Option<String> {
    let rest = value
        .split(';')
        .find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='))?;
    Some(rest.trim_matches('"').to_owned())
}

/// A random identifier in the shape of RFC 9562 §5.4.
pub(super) fn uuid() -> String {
    let mut bytes: [u8; 16] = rand::random();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

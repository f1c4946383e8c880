//! Reading and building messages in a line each.

use anyhow::{Context, Result};
use bytes::Bytes;
use sipx_sip::headers::{Contact, From, RecordRoute, To, address::Path};
use sipx_sip::{
    Header, HeaderName, Headers, Message, Method, Request, Response, ResponseBuilder, StatusCode,
    Uri,
};

/// A header of that name that the crate has no name for.
pub(crate) fn other(name: &'static str) -> HeaderName {
    HeaderName::Other(Bytes::from_static(name.as_bytes()))
}

/// Adds a header.
///
/// # Errors
/// The value would break the line.
pub(crate) fn add(headers: &mut Headers, name: HeaderName, value: impl Into<Bytes>) -> Result<()> {
    headers.push(Header::build(name, value)?);
    Ok(())
}

/// The first value of that name, as text.
pub(crate) fn text(headers: &Headers, name: &HeaderName) -> Option<String> {
    headers
        .value(name)
        .map(|value| String::from_utf8_lossy(&value).trim().to_owned())
}

/// `Call-ID`, or nothing.
pub(crate) fn call_id(headers: &Headers) -> String {
    text(headers, &HeaderName::CallId).unwrap_or_default()
}

/// Sequence number of the request.
pub(crate) fn sequence(headers: &Headers) -> Option<u32> {
    Some(headers.typed::<sipx_sip::CSeq>()?.ok()?.sequence)
}

/// Tag of `To`.
pub(crate) fn to_tag(headers: &Headers) -> Option<String> {
    Some(String::from_utf8_lossy(headers.typed::<To>()?.ok()?.tag()?).into_owned())
}

/// User part of `From`.
pub(crate) fn from_user(headers: &Headers) -> String {
    headers
        .typed::<From>()
        .and_then(Result::ok)
        .map(|from| user(&from.uri))
        .unwrap_or_default()
}

/// User part of `To`.
pub(crate) fn to_user(headers: &Headers) -> String {
    headers
        .typed::<To>()
        .and_then(Result::ok)
        .map(|to| user(&to.uri))
        .unwrap_or_default()
}

/// User part of a URI.
pub(crate) fn user(uri: &Uri) -> String {
    uri.user()
        .map(|user| String::from_utf8_lossy(user).into_owned())
        .unwrap_or_default()
}

/// The URI of the first `Contact`.
pub(crate) fn contact(headers: &Headers) -> Option<Uri> {
    Some(headers.typed::<Contact>()?.ok()?.0.uri)
}

/// URIs of `Record-Route`, topmost first.
pub(crate) fn record_route(headers: &Headers) -> Vec<Uri> {
    headers
        .typed_all::<RecordRoute>()
        .filter_map(Result::ok)
        .map(|route| route.0.uri)
        .collect()
}

/// URIs of `Path`, topmost first.
pub(crate) fn path(headers: &Headers) -> Vec<Uri> {
    headers
        .typed_all::<Path>()
        .filter_map(Result::ok)
        .map(|path| path.0.uri)
        .collect()
}

/// A URI from text.
///
/// # Errors
/// It is none.
pub(crate) fn uri(text: &str) -> Result<Uri> {
    Uri::parse(Bytes::copy_from_slice(text.as_bytes())).with_context(|| format!("URI {text}"))
}

/// An answer to a request, with that tag on `To` if it has none yet.
///
/// # Errors
/// The request lacks what an answer must repeat.
pub(crate) fn answer(request: &Request, code: u16, reason: &str, tag: &str) -> Result<Response> {
    let status = StatusCode::new(code).context("a status of 100 to 699")?;
    let mut response = ResponseBuilder::to_request(request, status, reason.to_owned())?.build();
    if code > 100 && to_tag(&response.headers).is_none() && !tag.is_empty() {
        let to = text(&response.headers, &HeaderName::To).unwrap_or_default();
        replace(
            &mut response.headers,
            HeaderName::To,
            &format!("{to};tag={tag}"),
        )?;
    }
    Ok(response)
}

/// Puts one header of that name in the place of all there are.
pub(crate) fn replace(headers: &mut Headers, name: HeaderName, value: &str) -> Result<()> {
    let place = headers.iter().position(|header| *header.name() == name);
    headers.remove_all(&name);
    let header = Header::build(name, value.to_owned())?;
    headers.insert(place.unwrap_or(headers.len()), header);
    Ok(())
}

/// Gives a message a body with its type and length.
pub(crate) fn set_body(headers: &mut Headers, kind: &str, size: usize) -> Result<()> {
    if size > 0 {
        replace(headers, HeaderName::ContentType, kind)?;
    }
    replace(headers, HeaderName::ContentLength, &size.to_string())
}

/// Puts a session description into a request.
pub(crate) fn with_sdp(mut request: Request, sdp: &str) -> Result<Request> {
    set_body(&mut request.headers, "application/sdp", sdp.len())?;
    request.set_body(Bytes::copy_from_slice(sdp.as_bytes()));
    Ok(request)
}

/// Puts a session description into an answer.
pub(crate) fn answer_with_sdp(mut response: Response, sdp: &str) -> Result<Response> {
    set_body(&mut response.headers, "application/sdp", sdp.len())?;
    response.set_body(Bytes::copy_from_slice(sdp.as_bytes()));
    Ok(response)
}

/// Method or status, as a line of a ladder says it.
pub(crate) fn what(message: &Message) -> String {
    match message {
        Message::Request(request) => request.method.to_string(),
        Message::Response(response) => {
            let method = response
                .headers
                .typed::<sipx_sip::CSeq>()
                .and_then(Result::ok);
            let method = method
                .map(|cseq| cseq.method.to_string())
                .unwrap_or_default();
            format!("{} {method}", response.status.code())
        }
    }
}

/// Whether the request asks to begin something, rather than to go on with it.
pub(crate) fn is_initial(request: &Request) -> bool {
    to_tag(&request.headers).is_none() && request.method != Method::Cancel
}

/// A random token of that many bytes, hexadecimal.
pub(crate) fn token(bytes: usize) -> String {
    (0..bytes)
        .map(|_| format!("{:02x}", rand::random::<u8>()))
        .collect()
}

//! The libraries, each doing the same work in its own words.

use std::fmt;
use std::hint::black_box;

use bytes::Bytes;

const VIA: &str =
    "SIP/2.0/TLS edge.example.test:5061;branch=z9hG4bK0123456789abcdef0123456789abcdef";
const ROUTE: &str = "<sip:AAAAAQAAAAEAAAAAAAAAAAAA@edge.example.test:5061;transport=tls;lr>";

/// What is done with a message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Parse.
    Parse,
    /// Parse, and read what a proxy needs.
    View,
    /// All that, a Via and a Record-Route put in, and written.
    Relay,
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Work::Parse => "parse",
            Work::View => "parse and view",
            Work::Relay => "relay",
        })
    }
}

/// A library.
#[derive(Clone, Copy)]
pub enum Peer {
    /// Ours, as it reads strangers.
    Causeway,
    /// Ours, as it reads call control.
    Trusted,
    /// `rsipstack`.
    Rsipstack,
    /// `sipx-sip`.
    Sipx,
}

impl Peer {
    /// All of them.
    pub const ALL: [Peer; 4] = [Peer::Causeway, Peer::Trusted, Peer::Rsipstack, Peer::Sipx];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Peer::Causeway => "causeway",
            Peer::Trusted => "…trusted",
            Peer::Rsipstack => "rsipstack",
            Peer::Sipx => "sipx-sip",
        }
    }

    /// Does the work once. Libraries that want their bytes owned are given them so.
    pub fn run(self, bytes: &'static [u8], work: Work, out: &mut Vec<u8>) {
        out.clear();
        match self {
            Peer::Causeway => causeway(bytes, &sip::Limits::outside(), work, out),
            Peer::Trusted => causeway(bytes, &sip::Limits::trusted(), work, out),
            Peer::Rsipstack => rsipstack(bytes, work, out),
            Peer::Sipx => sipx(bytes, work, out),
        }
        .expect("every library reads these messages");
        black_box(out);
    }
}

/// Nothing if a library could not do it.
type Done = Option<()>;

fn causeway(bytes: &'static [u8], limits: &sip::Limits, work: Work, out: &mut Vec<u8>) -> Done {
    use sip::{Message, Name, Uri};
    let message = Message::parse(Bytes::from_static(bytes), limits).ok()?;
    if work != Work::Parse {
        let via = message.top_via().ok()?;
        let (from, to) = (message.from().ok()?, message.to().ok()?);
        black_box((via.branch(), from.tag(), to.tag(), message.call_id()));
        black_box((message.cseq().ok()?, message.max_forwards().ok()?));
        black_box(Uri::parse(message.request_uri()).ok()?.user);
    }
    if work == Work::Relay {
        let mut edit = message.edit();
        edit.push_front(Name::Via, VIA);
        edit.push_front(Name::RecordRoute, ROUTE);
        edit.write(out);
    }
    black_box(&message);
    Some(())
}

fn rsipstack(bytes: &'static [u8], work: Work, out: &mut Vec<u8>) -> Done {
    use rsipstack::sip::{
        Header, HeadersExt, RecordRoute, Request, SipMessage, ToTypedHeader, Via,
    };
    let mut request: Request = match SipMessage::try_from(bytes).ok()? {
        SipMessage::Request(request) => request,
        SipMessage::Response(_) => return None,
    };
    if work != Work::Parse {
        let via = request.via_header().ok()?.typed().ok()?;
        let from = request.from_header().ok()?.typed().ok()?;
        let to = request.to_header().ok()?.typed().ok()?;
        black_box((via.branch(), from.tag(), to.tag()));
        black_box(request.call_id_header().ok()?.value());
        black_box(request.cseq_header().ok()?.typed().ok()?);
        black_box(request.max_forwards_header().ok()?.value());
        black_box(&request.uri);
    }
    if work == Work::Relay {
        let route = Header::RecordRoute(RecordRoute::new(ROUTE));
        request.headers.push_front(route);
        request.headers.push_front(Header::Via(Via::new(VIA)));
        out.extend_from_slice(&Vec::from(SipMessage::Request(request)));
    } else {
        black_box(&request);
    }
    Some(())
}

fn sipx(bytes: &'static [u8], work: Work, out: &mut Vec<u8>) -> Done {
    use sipx_sip::{CSeq, CallId, Header, HeaderName, Limits, Via, headers};
    let owned = Bytes::copy_from_slice(bytes);
    let mut message = sipx_sip::parse_datagram(owned, &Limits::default()).ok()?;
    if work != Work::Parse {
        let fields = message.headers();
        let via = fields.typed::<Via>()?.ok()?;
        let from = fields.typed::<headers::From>()?.ok()?;
        let to = fields.typed::<headers::To>()?.ok()?;
        black_box((via.branch(), from.tag(), to.tag()));
        black_box(fields.typed::<CallId>()?.ok()?);
        black_box(fields.typed::<CSeq>()?.ok()?);
        black_box(fields.typed::<headers::MaxForwards>()?.ok()?);
        black_box(&message.as_request()?.uri);
    }
    if work == Work::Relay {
        let route = Header::build(HeaderName::RecordRoute, ROUTE).ok()?;
        message.headers_mut().push_front(route);
        let via = Header::build(HeaderName::Via, VIA).ok()?;
        message.headers_mut().push_front(via);
        message.write_to(out);
    }
    black_box(&message);
    Some(())
}

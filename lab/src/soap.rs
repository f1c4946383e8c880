//! SOAP 1.1 and 1.2 envelopes: what was asked, and how to answer it or refuse it.

use minidom::Element;

use crate::web::{Answer, escaped};

/// The envelope's namespace in SOAP 1.1.
pub const SOAP_1_1: &str = "http://schemas.xmlsoap.org/soap/envelope/";
/// The envelope's namespace in SOAP 1.2.
pub const SOAP_1_2: &str = "http://www.w3.org/2003/05/soap-envelope";

/// What was asked.
pub struct Call {
    /// The envelope's namespace.
    pub envelope: String,
    /// The header's entries.
    pub header: Vec<Element>,
    /// The body's first element: the operation and its arguments.
    pub operation: Element,
}

impl Call {
    /// Reads an envelope; `None` if it is none.
    pub fn read(body: &[u8]) -> Option<Call> {
        // Arguments are often in no namespace at all, which needs a name here.
        let root = Element::from_reader_with_prefixes(body, String::new()).ok()?;
        let envelope = root.ns();
        if root.name() != "Envelope" || ![SOAP_1_1, SOAP_1_2].contains(&envelope.as_str()) {
            return None;
        }
        let header = root.get_child("Header", envelope.as_str());
        let body = root.get_child("Body", envelope.as_str())?;
        Some(Call {
            header: header
                .map(|h| h.children().cloned().collect())
                .unwrap_or_default(),
            operation: body.children().next()?.clone(),
            envelope,
        })
    }

    /// The text of an argument that is a child of the operation, whatever its namespace.
    pub fn argument(&self, name: &str) -> Option<String> {
        child(&self.operation, name).map(|c| c.text().trim().to_owned())
    }

    /// The text of a header entry.
    pub fn header(&self, name: &str) -> Option<String> {
        let found = self.header.iter().find(|h| h.name() == name);
        found.map(|h| h.text().trim().to_owned())
    }
}

/// A child by its local name.
pub fn child<'a>(element: &'a Element, name: &str) -> Option<&'a Element> {
    element.children().find(|c| c.name() == name)
}

/// An envelope around `inner`.
pub fn envelope(namespace: &str, inner: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><soapenv:Envelope \
         xmlns:soapenv=\"{namespace}\"><soapenv:Body>{inner}</soapenv:Body></soapenv:Envelope>"
    )
}

/// A SOAP 1.1 fault with AXL's detail.
pub fn axl_fault(code: i32, text: &str, operation: &str) -> Answer {
    let (text, operation) = (escaped(text), escaped(operation));
    let inner = format!(
        "<soapenv:Fault><faultcode>soapenv:Client</faultcode><faultstring>{text}</faultstring>\
         <detail><axlError><axlcode>{code}</axlcode><axlmessage>{text}</axlmessage>\
         <request>{operation}</request></axlError></detail></soapenv:Fault>"
    );
    Answer::new(500, "text/xml;charset=UTF-8", envelope(SOAP_1_1, &inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn call_with_arguments_in_no_namespace_is_read() {
        let body = br#"<?xml version="1.0"?>
            <s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"
            xmlns:ns="http://www.cisco.com/AXL/API/9.1"><s:Header/><s:Body><ns:listProcessNode>
            <searchCriteria><name>%</name></searchCriteria></ns:listProcessNode></s:Body>
            </s:Envelope>"#;
        let call = Call::read(body).unwrap();
        assert_eq!(call.operation.name(), "listProcessNode");
        assert_eq!(call.operation.ns(), "http://www.cisco.com/AXL/API/9.1");
        let criteria = child(&call.operation, "searchCriteria").unwrap();
        assert_eq!(child(criteria, "name").unwrap().text(), "%");
    }

    #[test]
    fn call_that_is_no_envelope_is_refused() {
        for bad in [
            "",
            "<a/>",
            "<Envelope/>",
            "{}",
            "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
        ] {
            assert!(Call::read(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}

//! The file as it is written: every key, optional where there is a default.

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};

/// A whole number as it is written; `range.rs` says which are good where.
pub(crate) type Number = i64;

/// One address as it is written, or several in a list.
#[derive(PartialEq)]
pub(crate) struct Several(pub(crate) Vec<String>);

impl<'de> Deserialize<'de> for Several {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Several;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an address in quotes, or one of each family in a list")
            }

            fn visit_str<E>(self, one: &str) -> Result<Several, E> {
                Ok(Several(vec![one.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Several, A::Error> {
                let mut all = Vec::new();
                while let Some(one) = list.next_element()? {
                    all.push(one);
                }
                Ok(Several(all))
            }
        }
        from.deserialize_any(Either)
    }
}

macro_rules! section {
    ($name:ident { $($field:ident: $type:ty),* $(,)? }) => {
        #[derive(Deserialize, Default, PartialEq)]
        #[serde(deny_unknown_fields, default)]
        pub(crate) struct $name { $(pub(crate) $field: $type),* }
    };
}

section!(File {
    role: String,
    name: String,
    domain: String,
    data: Option<String>,
    dns: Dns,
    certificate: Certificate,
    log: Log,
    administration: Administration,
    limits: Limits,
    overload: Overload,
    service: Services,
    traversal: Traversal,
    domains: Vec<Domain>,
    unified_cm: Vec<Publisher>,
    im_presence: Vec<Publisher>,
    unity_connection: Vec<Publisher>,
    call_control: Vec<CallControl>,
    xmpp_server: Vec<XmppServer>,
    allow_list: Vec<AllowRule>,
    credentials: Credentials,
    calls: Calls,
    zones: Vec<RoutingZone>,
    transforms: Vec<Transform>,
    search_rules: Vec<SearchRule>,
    business: Business,
});
section!(Business {
    accept: Option<bool>,
    call: Option<bool>,
    trusted: Option<String>,
    reach: Vec<String>,
    calls_max: Option<Number>,
    calls_per_minute: Option<Number>,
    calls_per_source: Option<Number>,
    ringing_max_s: Option<Number>,
});
section!(Dns { servers: Vec<String> });
section!(Certificate {
    chain: String,
    key: String,
    trusted: String,
    chat_node_aliases: Vec<String>,
});
section!(Log { level: Option<String>, format: Option<String>, file: Option<String> });
section!(Administration { listen: Vec<String>, token_file: Option<String> });
section!(Limits {
    connections_per_source_max: Option<Number>,
    connections_max: Option<Number>,
    handshakes_per_source: Option<Number>,
    handshakes: Option<Number>,
    requests_per_connection: Option<Number>,
    requests_per_source: Option<Number>,
    requests_per_user: Option<Number>,
    burst: Option<Number>,
    refusals_max: Option<Number>,
    registrations_pending_max: Option<Number>,
    calls_per_user: Option<Number>,
    media_ports_per_user: Option<Number>,
});
section!(Overload {
    refuse_strangers_ms: Option<Number>,
    refuse_new_ms: Option<Number>,
    refuse_in_dialog_ms: Option<Number>,
    refuse_refreshes_ms: Option<Number>,
    step_down_ms: Option<Number>,
});
section!(Services {
    https: Option<Service>,
    sip: Option<Service>,
    xmpp: Option<Service>,
    media: Option<Media>,
});
section!(Service {
    listen: Vec<String>,
    listen_tls: Vec<String>,
    advertise: Option<String>,
    realm: Option<String>,
    client_certificates: Option<String>,
    client_authorities: Option<String>,
    digest_algorithms: Option<Vec<String>>,
    accept_from: Vec<String>,
});
section!(Media { listen: Option<Several>, advertise: Option<Several>, ports: Option<String> });
section!(Traversal {
    listen_sip: Option<String>,
    listen_ssh: Option<String>,
    listen_xmpp: Option<String>,
    listen_media: Option<String>,
    advertise_media: Option<String>,
    media_ports: Option<Vec<Number>>,
    zone: Vec<Zone>,
    peer: Vec<Peer>,
});
section!(Zone {
    name: String,
    verify_name: Vec<String>,
    user: String,
    password: Option<String>,
    password_file: Option<String>,
    hop_count: Option<Number>,
    authentication_policy: Option<String>,
});
section!(Peer {
    name: String,
    dial: String,
    verify_name: String,
    user: String,
    password: Option<String>,
    password_file: Option<String>,
    sip_port: Option<Number>,
    ssh_port: Option<Number>,
    xmpp_port: Option<Number>,
    media_ports: Option<Vec<Number>>,
    hop_count: Option<Number>,
    authentication_policy: Option<String>,
});
section!(RoutingZone {
    name: String,
    r#type: String,
    peers: Vec<String>,
    port: Option<Number>,
    transport: Option<String>,
    tls_verify: Option<bool>,
    verify_name: Option<String>,
    hop_count: Option<Number>,
    hop_count_in: Option<Number>,
    authentication_policy: Option<String>,
    media_encryption: Option<String>,
    ice: Option<String>,
    accept_incoming: Option<bool>,
    monitor: Option<bool>,
});
section!(Transform {
    name: String,
    priority: Option<Number>,
    pattern_type: Option<String>,
    pattern: String,
    behavior: Option<String>,
    replace: Option<String>,
    enabled: Option<bool>,
});
section!(SearchRule {
    name: String,
    priority: Option<Number>,
    source: Option<String>,
    source_name: Option<String>,
    authenticated: Option<bool>,
    mode: Option<String>,
    pattern_type: Option<String>,
    pattern: Option<String>,
    behavior: Option<String>,
    replace: Option<String>,
    on_match: Option<String>,
    target: String,
    enabled: Option<bool>,
});
section!(Domain {
    name: String,
    sip: Option<bool>,
    im_presence: Option<bool>,
    federation: Option<bool>,
    call_control: Vec<String>,
    extensions_of: Vec<String>,
    sign_in: SignIn,
    tokens: Option<Tokens>,
});
section!(SignIn {
    by: Option<String>,
    file: Option<String>,
    servers: Vec<String>,
    user_dn: Option<String>,
    search_base: Option<String>,
    search_filter: Option<String>,
    bind_dn: Option<String>,
    bind_password: Option<String>,
    bind_password_file: Option<String>,
    account_attribute: Option<String>,
    lines_attribute: Option<String>,
    timeout_s: Option<Number>,
    connections_max: Option<Number>,
    issuer: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
    client_secret_file: Option<String>,
    scope: Option<String>,
    user_claim: Option<String>,
    user_part: Option<String>,
    mail_domains: Vec<String>,
    metadata_file: Option<String>,
    entity_id: Option<String>,
    user_attribute: Option<String>,
    signing_key_file: Option<String>,
    signing_certificate_file: Option<String>,
});
section!(Tokens {
    issuer: String,
    audience: String,
    keys: Option<String>,
    user_claim: Option<String>,
    user_part: Option<String>,
    mail_domains: Vec<String>,
    decryption_key_file: Option<String>,
    introspection: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
    client_secret_file: Option<String>,
});
section!(Publisher {
    publisher: Option<String>,
    address: Option<String>,
    port: Option<Number>,
    user: String,
    password: Option<String>,
    password_file: Option<String>,
    tls_verify: Option<bool>,
    contact: Option<String>,
    ice: Option<String>,
});
section!(CallControl {
    name: String,
    address: String,
    transport: Option<String>,
    contact: Option<String>,
    ice: Option<String>,
});
section!(XmppServer { domain: String, address: String, tls: Option<String> });
section!(AllowRule {
    host: String,
    scheme: Option<String>,
    port: Option<Number>,
    path: Option<String>,
    r#match: Option<String>,
    methods: Option<Vec<String>>,
    proxy_protocol: Option<bool>,
    description: Option<String>,
});
section!(Credentials {
    refresh_interval_min: Option<Number>,
    cleanup_interval_min: Option<Number>,
    file: Option<String>,
});

section!(Calls {
    licences: Option<Number>,
    concurrent_max: Option<Number>,
    per_user_max: Option<Number>,
    media_per_user_max: Option<Number>,
    registrations_max: Option<Number>,
    session_interval_s: Option<Number>,
});

impl Calls {
    /// Whether no key is set.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Calls::default()
    }
}

impl Limits {
    /// Whether no key is set.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Limits::default()
    }
}

impl Business {
    /// Whether no key is set.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Business::default()
    }
}

impl Credentials {
    /// Whether no key is set.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Credentials::default()
    }
}

//! The documents about one user.

use std::time::UNIX_EPOCH;

use super::Uds;
use crate::web::escaped;
use crate::world::{UNIFIED_CM_VERSION as VERSION, User};

impl Uds<'_> {
    /// A line of the directory.
    pub(super) fn listed(&self, user: &User) -> String {
        let uri = self.uri(&format!("user/{}", user.name));
        format!("<user uri=\"{uri}\">{}</user>", fields(user))
    }

    /// The whole of a user.
    pub(super) fn user(&self, user: &User) -> String {
        let uri = self.uri(&format!("user/{}", user.name));
        let presence = &self.world().im_presence;
        let servers: String = presence
            .iter()
            .map(|n| format!("<server>{}</server>", n.fqdn))
            .collect();
        let parts = [
            "devices",
            "credentials",
            "extensions",
            "subscribedServices",
            "speedDials",
        ];
        let links: String = parts.map(|p| format!("<{p} uri=\"{uri}/{p}\"/>")).concat();
        format!(
            "<user uri=\"{uri}\" version=\"{VERSION}\">{}<homeNumber/><mobileConnect>false\
             </mobileConnect><remoteDestinationLimit>4</remoteDestinationLimit>\
             <userLocale uri=\"{}\" value=\"1\" appliesToAllDevices=\"true\">English, United \
             States</userLocale><selfServiceId>{}</selfServiceId><accountType \
             useLdapAuth=\"false\">local</accountType><homeCluster \
             enableCalendarPresence=\"false\" enableImAndPresence=\"true\">true</homeCluster>\
             <imAndPresence>{servers}</imAndPresence><primaryExtension>{}</primaryExtension>\
             <callForwardAllDestination appliesToAllExtensions=\"true\">\
             <sendToVoiceMailPilotNumber>false</sendToVoiceMailPilotNumber><destination/>\
             </callForwardAllDestination><enableDoNotDisturb appliesToAllDevices=\"true\">false\
             </enableDoNotDisturb><serviceProfile><uri>http://{}:6970/SPDefault.cnf.xml</uri>\
             </serviceProfile>{links}</user>",
            fields(user),
            self.uri("options/installedLocales"),
            user.extension,
            user.extension,
            self.node,
        )
    }

    /// The user's device, in a list or, with where its configuration is, by itself.
    pub(super) fn device(&self, user: &User, whole: bool) -> String {
        let uri = self.uri(&format!("user/{}/device/{}", user.name, user.device_id));
        let (version, provision) = if whole {
            let file = format!("http://{}:6970/{}.cnf.xml", self.node, user.device);
            let lines = format!(
                "<extensions><extension><number>{}</number></extension></extensions>",
                user.extension
            );
            let provision = format!("<provision><uri>{file}</uri></provision>{lines}");
            (format!(" version=\"{VERSION}\""), provision)
        } else {
            Default::default()
        };
        format!(
            "<device uri=\"{uri}\"{version}><id>{}</id><name>{}</name><type>Phone</type>\
             <model>Cisco Unified Client Services Framework</model>\
             <description editable=\"true\">{}</description><protocol>SIP</protocol>\
             {provision}</device>",
            user.device_id,
            user.device,
            escaped(&user.display()),
        )
    }

    /// The user's numbers.
    pub(super) fn extensions(&self, user: &User) -> String {
        let uri = self.uri(&format!("user/{}/extensions", user.name));
        format!(
            "<extensions uri=\"{uri}\" version=\"{VERSION}\"><extension \
             uri=\"{}\"><id>{}</id><directoryNumber>{}</directoryNumber><description>{}\
             </description><type>primary</type></extension></extensions>",
            self.uri(&format!("user/{}/extension/{}", user.name, user.device_id)),
            user.device_id,
            user.extension,
            escaped(&user.display()),
        )
    }

    /// What the user may know about their sign-ins.
    pub(super) fn credentials(&self, user: &User) -> String {
        let uri = self.uri(&format!("user/{}/credentials", user.name));
        let record = self.accounts.record(user);
        let since = record
            .last_success
            .and_then(|t| t.duration_since(UNIX_EPOCH).ok());
        let at = since.map(|s| s.as_secs().to_string()).unwrap_or_default();
        format!(
            "<credentials uri=\"{uri}\" version=\"{VERSION}\"><credential type=\"password\">\
             <lastSuccessfulLogin>{at}</lastSuccessfulLogin><lastSuccessfulLoginIp/>\
             <loginFailures>{}</loginFailures></credential></credentials>",
            record.failures
        )
    }
}

/// What the directory tells of a user.
fn fields(user: &User) -> String {
    format!(
        "<id>{}</id><userName>{}</userName><firstName>{}</firstName><lastName>{}</lastName>\
         <middleName/><nickName/><displayName>{}</displayName><phoneNumber>{}</phoneNumber>\
         <mobileNumber/><email>{}</email><directoryUri>{}</directoryUri><msUri/>\
         <department>Laboratory</department><manager/><title/><pager/>",
        user.id,
        escaped(&user.name),
        escaped(&user.first),
        escaped(&user.last),
        escaped(&user.display()),
        user.extension,
        user.jid(),
        user.jid(),
    )
}

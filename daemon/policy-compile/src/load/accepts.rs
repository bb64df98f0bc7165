//! Reads the tables `[[accept]]`: paths that an administrator has read, with the reason.

use remit_common::caps;

use crate::load::accounts::is_number;
use crate::load::loading::Loading;
use crate::load::reader::{Fields, Report};
use remit_policy::model::accepted::AcceptedPath;
use remit_policy::quoted;

impl Loading<'_> {
    pub(crate) fn read_accepts(&mut self, top: &mut Fields<'_>, report: &mut Report<'_>) {
        for fields in top.tables("accept", "[[accept]]", report) {
            if self.accepts.len() >= caps::POLICY_RULES {
                let message = format!("there are too many [[accept]]: over {}", caps::POLICY_RULES);
                report.error_with_help(fields.header(), message, "close paths instead");
                return;
            }
            self.accept(fields, report);
        }
    }

    fn accept(&mut self, mut fields: Fields<'_>, report: &mut Report<'_>) {
        let id = self.id(&mut fields, report);
        let agent = fields.required("agent", report);
        let reaches = fields.required("reaches", report);
        let reason = fields.required("reason", report);
        let header = fields.header();
        fields.finish(report);
        let (Some(agent), Some(reaches), Some(reason)) = (agent, reaches, reason) else {
            return;
        };
        let accepted = AcceptedPath {
            id,
            agent: agent.value.to_owned(),
            reaches: reaches.value.to_owned(),
            reason: reason.value.to_owned(),
        };
        // Before the machine is asked about a name of any length.
        if let Some(why) = accepted.fault() {
            let help = "write one line of plain text for each key";
            report.error_with_help(header, format!("this [[accept]] {why}"), help);
            return;
        }
        let goals = ["root", "remit"];
        let accounts = [
            (&agent, true, "nothing is accepted for it"),
            (
                &reaches,
                !goals.contains(&reaches.value),
                "nothing that exists is accepted",
            ),
        ];
        for (name, is_account, effect) in accounts {
            // remit-prove names an account without a name as the policy does.
            let is_number = is_number(name.value) && name.value != "#0";
            let is_known = is_number || self.machine.user(name.value).is_some();
            if !is_account || is_known {
                continue;
            }
            let message = format!("there is no user {}: {effect}", quoted(name.value));
            let help = "write the name of a user, \"#1000\" for a uid without one, or of what is reached: \"root\" or \"remit\"";
            report.warning(name.span.clone(), message, Some(help));
        }
        self.accepts.push(accepted);
    }
}

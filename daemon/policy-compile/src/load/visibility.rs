//! Warns of grants by which any program sees, without an approval, what the caller does not: host keys, hashes of passwords.

use std::ops::Range;

use remit_policy::model::policy::RUN;
use remit_policy::model::profile::Eyes;
use remit_policy::model::rule::GrantRule;
use remit_policy::quoted;

use crate::load::reader::Report;

/// `run_profile`: where the rule names its profile.
pub(crate) fn warn_of_visibility(
    rule: &GrantRule,
    run_profile: Option<Range<usize>>,
    report: &mut Report<'_>,
) {
    let profile = &rule.profile;
    // Eyes of root have a warning where the profile is defined.
    let sees = profile
        .sees_as()
        .filter(|_| profile.eyes == Eyes::Operator && rule.approval.is_none());
    // Without that it is an error.
    let is_run = profile.takes_any_program()
        && rule.scope.is_any()
        && rule.allow.iter().any(|glob| glob.matches(RUN));
    if let (Some(sees), true, Some(span)) = (sees, is_run, run_profile) {
        let message = format!(
            "any program may run in the profile {} without an approval, and see there what {sees} sees",
            quoted(&profile.name)
        );
        let help = "write approval = { by = [\"%remit-admin\"] }, or grant commands by their names";
        report.warning(span, message, Some(help));
    }
}

/// A word of the field `VERDICT` that is no code of a refusal (remit-audit(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordVerdict {
    /// Of a job: by a rule, an approval or a grant.
    Allow,
    TryByRoot,
    Approved,
    /// Of a policy.
    Loaded,
    /// Of a policy, or of the test of a sandbox layer.
    Refused,
    /// Of the test of the sandbox layers, as `Untried`.
    Held,
    Untried,
    /// Of a commit that nobody confirmed, as all below.
    Undoes,
    Undone,
    UndonePartly,
    Failed,
    NotConfirmed,
}

impl RecordVerdict {
    pub const ALL: [Self; 12] = [
        Self::Allow,
        Self::TryByRoot,
        Self::Approved,
        Self::Loaded,
        Self::Refused,
        Self::Held,
        Self::Untried,
        Self::Undoes,
        Self::Undone,
        Self::UndonePartly,
        Self::Failed,
        Self::NotConfirmed,
    ];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::TryByRoot => "try by root",
            Self::Approved => "approved",
            Self::Loaded => "loaded",
            Self::Refused => "refused",
            Self::Held => "held",
            Self::Untried => "untried",
            Self::Undoes => "undoes",
            Self::Undone => "undone",
            Self::UndonePartly => "undone_partly",
            Self::Failed => "failed",
            Self::NotConfirmed => "not_confirmed",
        }
    }
}

//! The installed Postfix's version and the facts that depend on it.
//!
//! Pure.

/// A Postfix release such as `3.7.11`, or a snapshot such as `3.12-20260821`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PostfixVersion {
    /// First number.
    pub major: u16,
    /// Second number.
    pub minor: u16,
    /// Third number, 0 when absent.
    pub patch: u16,
    /// Date (YYYYMMDD) of a snapshot; `None` for a release or a release candidate.
    pub snapshot: Option<u32>,
}

impl PostfixVersion {
    /// The behaviour assumed when the installed version is unknown: the one that approves least.
    pub const UNKNOWN: PostfixVersion = PostfixVersion { major: 3, minor: 7, patch: 0, snapshot: None };

    /// Reads the value of `mail_version`. `None` when it does not start with two decimal numbers.
    #[must_use]
    pub fn parse(text: &str) -> Option<PostfixVersion> {
        let (numbers, suffix) = text.trim().split_once('-').unwrap_or((text.trim(), ""));
        let mut parts = numbers.split('.');
        let major = decimal(parts.next()?)?;
        let minor = decimal(parts.next()?)?;
        let patch = parts.next().map_or(Some(0), decimal)?;
        if parts.next().is_some() {
            return None;
        }
        let date = suffix.split('-').next().unwrap_or_default();
        let snapshot = if date.len() == 8 { decimal(date) } else { None };
        Some(PostfixVersion { major, minor, patch, snapshot })
    }

    /// A token `/path` in a list of tables names a file with more of them: from 3.12-20260110.
    #[must_use]
    pub fn reads_list_files(&self) -> bool {
        self.reached(3, 12, 20_260_110)
    }

    /// The values of the names in smtpd_restriction_classes are searched too (3.12).
    #[must_use]
    pub fn searches_restriction_classes(&self) -> bool {
        self.reached(3, 12, 0)
    }

    /// proxy_read_maps has the 29 names that 3.12 added to the default.
    #[must_use]
    pub fn has_long_read_list(&self) -> bool {
        self.reached(3, 12, 0)
    }

    /// `${domain_to_ascii{..}}` and `${domain_to_utf8{..}}` exist (3.11).
    #[must_use]
    pub fn has_domain_functions(&self) -> bool {
        self.reached(3, 11, 0)
    }

    /// socketmap_max_reply_size exists (3.10).
    #[must_use]
    pub fn has_socketmap_reply_size(&self) -> bool {
        self.reached(3, 10, 0)
    }

    /// socketmap_max_query_size exists (3.12).
    #[must_use]
    pub fn has_socketmap_query_size(&self) -> bool {
        self.reached(3, 12, 0)
    }

    /// Is this at least `major.minor`, and if a snapshot of exactly that, at least of `date`?
    pub(crate) fn reached(&self, major: u16, minor: u16, date: u32) -> bool {
        match (self.major, self.minor).cmp(&(major, minor)) {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Greater => true,
            std::cmp::Ordering::Equal => self.snapshot.is_none_or(|snapshot| snapshot >= date),
        }
    }
}

impl std::fmt::Display for PostfixVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.snapshot {
            Some(date) => write!(f, "{}.{}-{date}", self.major, self.minor),
            None => write!(f, "{}.{}.{}", self.major, self.minor, self.patch),
        }
    }
}

fn decimal<T: std::str::FromStr>(text: &str) -> Option<T> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> PostfixVersion {
        PostfixVersion::parse(text).unwrap()
    }

    #[test]
    fn parse_release_and_snapshot_give_their_parts() {
        assert_eq!(version("3.7.11"), PostfixVersion { major: 3, minor: 7, patch: 11, snapshot: None });
        assert_eq!(version("3.12-20260821").snapshot, Some(20_260_821));
        assert_eq!(version("3.12-20260821-nonprod").snapshot, Some(20_260_821));
        assert_eq!(version("3.8-RC1").snapshot, None);
        assert_eq!(version("3.12-20260821").to_string(), "3.12-20260821");
        assert_eq!(version(" 3.7.11\n").to_string(), "3.7.11");
    }

    #[test]
    fn parse_other_text_is_none() {
        for text in ["", "3", "x.y", "3.", "3.7.1.2", "-3.7", "3.99999999", "3.+7"] {
            assert_eq!(PostfixVersion::parse(text), None, "{text}");
        }
    }

    #[test]
    fn facts_change_at_their_version() {
        assert!(!version("3.10.9").reached(3, 11, 20_250_713));
        assert!(!version("3.11-20250712").reached(3, 11, 20_250_713));
        assert!(version("3.11-20250713").reached(3, 11, 20_250_713));
        assert!(version("3.11.0").reached(3, 11, 20_250_713));
        assert!(!version("3.12-20260109").reads_list_files());
        assert!(version("3.12-20260110").reads_list_files());
        assert!(version("4.0.0").reads_list_files());
        assert!(!version("3.11.2").has_long_read_list());
        assert!(version("3.12-20260821").has_long_read_list());
        assert!(!PostfixVersion::UNKNOWN.has_domain_functions());
    }
}

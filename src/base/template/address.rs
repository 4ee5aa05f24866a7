//! Keys and values taken apart at their last `@`.

/// A key or a value, and its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address<'a> {
    /// All of it.
    pub whole: &'a [u8],
    /// What precedes the last `@`; all of it where there is none.
    pub user: &'a [u8],
    /// What follows the last `@`.
    pub domain: Option<&'a [u8]>,
}

impl<'a> Address<'a> {
    /// Takes `whole` apart.
    #[must_use]
    pub fn of(whole: &'a [u8]) -> Address<'a> {
        let parts = whole.iter().rposition(|byte| *byte == b'@').and_then(|at| whole.split_at_checked(at));
        match parts {
            Some((user, rest)) => Address { whole, user, domain: rest.get(1..) },
            None => Address { whole, user: whole, domain: None },
        }
    }

    /// Whether there is a domain with at least one byte.
    #[must_use]
    pub fn has_domain(&self) -> bool {
        self.domain.is_some_and(|domain| !domain.is_empty())
    }

    /// Whether it is `@domain`: a domain, or the place for one, with nothing before it.
    #[must_use]
    pub fn lacks_user(&self) -> bool {
        self.domain.is_some() && self.user.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_splits_at_the_last_at_sign() {
        let parts = |text: &'static [u8]| (Address::of(text).user, Address::of(text).domain);
        assert_eq!(parts(b"u@v@y.org"), (&b"u@v"[..], Some(&b"y.org"[..])));
        assert_eq!(parts(b"u"), (&b"u"[..], None));
        assert_eq!(parts(b"u@"), (&b"u"[..], Some(&b""[..])));
        assert_eq!(parts(b"@"), (&b""[..], Some(&b""[..])));
        assert_eq!(parts(b""), (&b""[..], None));
        assert!(Address::of(b"@d").lacks_user() && !Address::of(b"").lacks_user());
        assert!(!Address::of(b"u@").has_domain() && Address::of(b"u@d").has_domain());
    }
}

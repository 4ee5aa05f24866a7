//! The value of every parameter: layers of settings, expanded on demand.
//!
//! From lowest to highest: built-in defaults, `postconf -d` of the installed Postfix, main.cf, `-o` overrides, and what
//! the program itself fixes (process_name, service_name, process_id, config_directory). Pure. A value is only looked
//! into when it is asked for, so a broken one that nobody uses does no harm, as with stock.
//!
//! Two differences to stock: with `postconf -d` text, parameters that the stock daemon never registers have
//! their default here, where they would be empty in its own expansions; and an unset mynetworks has the value of
//! the default mynetworks_style, whatever that is set to.

use std::collections::BTreeMap;

use crate::complaint::{Complaint, ComplaintKind, FileName, complain};
use crate::defaults::built_in;
use crate::error::{ConfigError, Reason};
use crate::expand::{Expansion, MOST_WORK, Names};
use crate::main_cf::{MainCf, parse_named};
use crate::master_cf::ServiceEntry;
use crate::values;
use crate::version::PostfixVersion;

/// Names that only the program itself may set.
const FIXED_NAMES: [&[u8]; 4] = [b"process_name", b"service_name", b"process_id", b"config_directory"];

const MYHOSTNAME: &[u8] = b"myhostname";
const MYDOMAIN: &[u8] = b"mydomain";
/// The domain of a host whose name has none.
const UNKNOWN_DOMAIN: &[u8] = b"localdomain";

/// Where a parameter's value was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nowhere: the parameter is undefined, and expands to nothing.
    Unset,
    /// In this program.
    BuiltIn,
    /// In the output of `postconf -d`.
    Default,
    /// In main.cf, at this line.
    Main(u32),
    /// In an `-o` override; the line of its service in master.cf, 0 when it came on a command line.
    Override(u32),
    /// Set by the program itself.
    Fixed,
}

impl Origin {
    /// File and line for a complaint; line 0 when there is none.
    #[must_use]
    pub fn place(&self) -> (FileName, u32) {
        match self {
            Origin::Main(line) => (FileName::MainCf, *line),
            Origin::Override(line) => (FileName::MasterCf, *line),
            Origin::Unset | Origin::BuiltIn | Origin::Default | Origin::Fixed => (FileName::Defaults, 0),
        }
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Origin::Unset => f.write_str("not set"),
            Origin::BuiltIn => f.write_str("built-in default"),
            Origin::Default => f.write_str("postconf -d"),
            Origin::Main(line) => write!(f, "main.cf:{line}"),
            Origin::Override(0) => f.write_str("-o option"),
            Origin::Override(line) => write!(f, "master.cf:{line} (-o)"),
            Origin::Fixed => f.write_str("set by the program"),
        }
    }
}

/// The layered settings of one service.
#[derive(Clone, Debug)]
pub struct Parameters {
    built_in: BTreeMap<&'static [u8], Vec<u8>>,
    defaults: MainCf,
    main: MainCf,
    overrides: BTreeMap<Vec<u8>, (Vec<u8>, u32)>,
    fixed: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Defaults that follow from what is set: see [`Parameters::derive`].
    derived: BTreeMap<&'static [u8], Vec<u8>>,
    version: PostfixVersion,
}

impl Parameters {
    /// main.cf over the built-in defaults of an unknown version.
    #[must_use]
    pub fn new(main: MainCf) -> Parameters {
        let version = PostfixVersion::UNKNOWN;
        let mut params = Parameters {
            built_in: built_in(&version),
            defaults: MainCf::default(),
            main,
            overrides: BTreeMap::new(),
            fixed: BTreeMap::new(),
            derived: BTreeMap::new(),
            version,
        };
        params.derive();
        params
    }

    /// Adds what `postconf -d` printed, and takes the version from its `mail_version`.
    #[must_use]
    pub fn with_defaults(mut self, postconf_d_text: &[u8]) -> Parameters {
        // A fault in this text is not the administrator's; a line that cannot be read leaves the built-in one.
        let (defaults, _) = parse_named(postconf_d_text, FileName::Defaults);
        if let Some(version) = defaults
            .get(b"mail_version")
            .and_then(|entry| std::str::from_utf8(&entry.value).ok())
            .and_then(PostfixVersion::parse)
        {
            self.version = version;
            self.built_in = built_in(&version);
        }
        self.defaults = defaults;
        self.derive();
        self
    }

    /// The defaults of mydomain and myhostname, each of which follows from the other where only that is set.
    /// `postconf -d` prints both as they are with neither set.
    /// Source: postconf(5) and measured with `postconf -x` 3.7.11: mydomain is what follows the first dot of
    /// myhostname, and `localdomain` without a dot; a host name of one label gets mydomain appended.
    fn derive(&mut self) {
        self.derived.clear();
        let written = |name: &[u8]| self.overrides.contains_key(name) || self.main.get(name).is_some();
        match (written(MYHOSTNAME), written(MYDOMAIN)) {
            (true, false) => {
                // While it is derived it is empty, also for a host name that refers to it.
                self.derived.insert(MYDOMAIN, Vec::new());
                if let Ok(host) = self.expand("myhostname") {
                    let domain = host.splitn(2, |byte| *byte == b'.').nth(1).unwrap_or(UNKNOWN_DOMAIN);
                    self.derived.insert(MYDOMAIN, domain.to_vec());
                } else {
                    self.derived.clear();
                }
            }
            (false, true) => {
                let label = self.defaults.get(MYHOSTNAME).and_then(|host| {
                    let label = host.value.strip_suffix(UNKNOWN_DOMAIN)?.strip_suffix(b".")?;
                    (!label.contains(&b'.')).then(|| label.to_vec())
                });
                if let Some(mut host) = label {
                    host.extend_from_slice(b".$mydomain");
                    self.derived.insert(MYHOSTNAME, host);
                }
            }
            _ => {}
        }
    }

    /// The installed version, or [`PostfixVersion::UNKNOWN`].
    #[must_use]
    pub fn version(&self) -> PostfixVersion {
        self.version
    }

    /// Overrides `name` as `-o name=value` does. Errors: no name, or one of the fixed names.
    pub fn set_override(&mut self, name: &[u8], value: &[u8]) -> Result<(), ConfigError> {
        self.set_override_at(name, value, 0)?;
        self.derive();
        Ok(())
    }

    /// Applies the overrides of a master.cf service, in order; complains about those that may not be set.
    #[must_use]
    pub fn apply(&mut self, service: &ServiceEntry) -> Vec<Complaint> {
        let mut complaints = Vec::new();
        for item in &service.overrides {
            if let Err(error) = self.set_override_at(&item.name, &item.value, service.line) {
                let kind = ComplaintKind::BadValue { error, used: "the program's own value".to_string() };
                complain(&mut complaints, FileName::MasterCf, service.line, kind);
            }
        }
        self.derive();
        complaints
    }

    fn set_override_at(&mut self, name: &[u8], value: &[u8], line: u32) -> Result<(), ConfigError> {
        if name.is_empty() || name.contains(&0) || value.contains(&0) {
            return Err(Reason::NotNameValue.into());
        }
        if FIXED_NAMES.contains(&name) {
            return Err(ConfigError::from(Reason::Reserved).within(name));
        }
        self.overrides.insert(name.to_vec(), (value.to_vec(), line));
        Ok(())
    }

    /// Sets what the program itself knows: process_name, service_name, process_id or config_directory.
    /// It wins over every file and override.
    pub fn set_fixed(&mut self, name: &str, value: &[u8]) {
        self.fixed.insert(name.as_bytes().to_vec(), value.to_vec());
    }

    /// The raw value of `name`, unexpanded.
    #[must_use]
    pub fn raw(&self, name: &str) -> Option<&[u8]> {
        self.find(name.as_bytes()).map(|(value, _)| value)
    }

    /// Where the value of `name` was written.
    #[must_use]
    pub fn origin(&self, name: &[u8]) -> Origin {
        self.find(name).map_or(Origin::Unset, |(_, origin)| origin)
    }

    fn find(&self, name: &[u8]) -> Option<(&[u8], Origin)> {
        if let Some(value) = self.fixed.get(name) {
            return Some((value, Origin::Fixed));
        }
        if let Some((value, line)) = self.overrides.get(name) {
            return Some((value, Origin::Override(*line)));
        }
        if let Some(entry) = self.main.get(name) {
            return Some((&entry.value, Origin::Main(entry.line)));
        }
        if let Some(value) = self.derived.get(name) {
            return Some((value, Origin::BuiltIn));
        }
        if let Some(entry) = self.defaults.get(name) {
            return Some((&entry.value, Origin::Default));
        }
        self.built_in.get(name).map(|value| (value.as_slice(), Origin::BuiltIn))
    }

    /// The expanded value of `name`, empty when it is undefined. Errors: bad `$` syntax, nesting beyond 100,
    /// more than 4 MiB of output or 16 MiB of work.
    pub fn expand(&self, name: &str) -> Result<Vec<u8>, ConfigError> {
        let mut out = Vec::new();
        Expansion::new(self, MOST_WORK).value(name.as_bytes(), &mut out)?;
        Ok(out)
    }

    /// `text` with its references expanded; same limits.
    pub fn expand_text(&self, text: &[u8]) -> Result<Vec<u8>, ConfigError> {
        let mut out = Vec::new();
        Expansion::new(self, MOST_WORK).text(text, &mut out)?;
        Ok(out)
    }

    /// A time in seconds, from 0 to 2147483647. `default_unit` is one of `s m h d w`.
    pub fn seconds(&self, name: &str, default_unit: u8) -> Result<u64, ConfigError> {
        self.read(name, |text| values::seconds(text, default_unit))
    }

    /// A number from 0 to 2147483647.
    pub fn integer(&self, name: &str) -> Result<u64, ConfigError> {
        self.read(name, values::integer)
    }

    /// `yes` or `no`.
    pub fn boolean(&self, name: &str) -> Result<bool, ConfigError> {
        self.read(name, values::boolean)
    }

    /// UTF-8 text, empty when the parameter is undefined.
    pub fn text(&self, name: &str) -> Result<String, ConfigError> {
        let value = self.expand(name)?;
        String::from_utf8(value).map_err(|_| ConfigError::from(Reason::NotText).within(name.as_bytes()))
    }

    fn read<T>(
        &self,
        name: &str,
        convert: impl FnOnce(&[u8]) -> Result<T, Reason>,
    ) -> Result<T, ConfigError> {
        let within = |reason: Reason| ConfigError::from(reason).within(name.as_bytes());
        if self.find(name.as_bytes()).is_none() {
            return Err(within(Reason::Unset));
        }
        convert(&self.expand(name)?).map_err(within)
    }
}

impl Names for Parameters {
    fn raw_value(&self, name: &[u8]) -> Option<&[u8]> {
        self.find(name).map(|(value, _)| value)
    }

    fn has_domain_functions(&self) -> bool {
        self.version.has_domain_functions()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{parse_main, parse_master};

    fn parameters(main: &str) -> Parameters {
        Parameters::new(parse_main(main.as_bytes()).0)
    }

    #[test]
    fn raw_each_layer_hides_the_lower_ones() {
        let mut found = parameters("a = main\n\nmax_use = 7\n")
            .with_defaults(b"a = d\nmax_idle = 5s\nmail_version = 3.7.11\n");
        assert_eq!(found.origin(b"ipc_ttl"), Origin::BuiltIn);
        assert_eq!(found.origin(b"max_idle"), Origin::Default);
        assert_eq!(found.origin(b"max_use"), Origin::Main(3));
        assert_eq!(found.origin(b"nothing"), Origin::Unset);
        found.set_override(b"max_use", b"$a").unwrap();
        assert_eq!(found.origin(b"max_use"), Origin::Override(0));
        assert_eq!(found.expand("max_use").unwrap(), b"main");
        found.set_fixed("max_use", b"1");
        assert_eq!(found.integer("max_use"), Ok(1));
        assert_eq!(found.version().patch, 11);
    }

    #[test]
    fn set_override_of_fixed_or_nameless_is_refused() {
        let mut found = parameters("");
        assert_eq!(found.set_override(b"service_name", b"x").unwrap_err().reason, Reason::Reserved);
        assert_eq!(found.set_override(b"", b"x").unwrap_err().reason, Reason::NotNameValue);
        found.set_override(b"syslog_name", b"postfix/$service_name").unwrap();
        found.set_fixed("service_name", b"proxymap");
        assert_eq!(found.text("syslog_name").unwrap(), "postfix/proxymap");
    }

    #[test]
    fn apply_service_overrides_carry_the_line() {
        let (master, _) = parse_master(b"\np unix - - n - - proxymap -o max_use=3 -o process_id=4\n");
        let mut found = parameters("max_use = 9\n");
        let refused = found.apply(&master.services[0]);
        assert_eq!((refused.len(), refused[0].line), (1, 2));
        assert_eq!(found.origin(b"max_use"), Origin::Override(2));
    }

    #[test]
    fn read_typed_value_error_names_parameter() {
        let found = parameters("max_idle = 5x\nbad = ${\nraw = \u{fc}\n");
        let error = found.seconds("max_idle", b's').unwrap_err();
        assert_eq!(
            error.to_string(),
            "parameter max_idle: \"5x\" is not a time; write digits and one of s, m, h, d, w"
        );
        assert_eq!(found.boolean("bad").unwrap_err().parameter.as_deref(), Some(&b"bad"[..]));
        assert_eq!(found.integer("nothing").unwrap_err().reason, Reason::Unset);
        assert_eq!(found.text("raw").unwrap(), "\u{fc}");
    }

    #[test]
    fn derive_domain_follows_host_name_and_the_other_way_round() {
        let defaults = b"myhostname = vm.localdomain\nmydomain = localdomain\n";
        for (main, host, domain) in [
            ("", "vm.localdomain", "localdomain"),
            ("myhostname = a.b.c\n", "a.b.c", "b.c"),
            ("myhostname = a\n", "a", "localdomain"),
            ("myhostname = a.\n", "a.", ""),
            ("myhostname = a.$mydomain\n", "a.", ""),
            ("myhostname =\n", "", "localdomain"),
            ("mydomain = b.c\n", "vm.b.c", "b.c"),
            ("mydomain =\n", "vm.", ""),
            ("mydomain = b\nmyhostname = x.y.z\n", "x.y.z", "b"),
            ("mydomain = $myhostname\nmyhostname = x.y\n", "x.y", "x.y"),
        ] {
            let found = parameters(main).with_defaults(defaults);
            let both = (found.text("myhostname").unwrap(), found.text("mydomain").unwrap());
            assert_eq!(both, (host.to_owned(), domain.to_owned()), "{main:?}");
        }
        let mut found = parameters("myhostname = a.b\n").with_defaults(b"myhostname = x.y\nmydomain = y\n");
        assert_eq!(found.text("mydomain").unwrap(), "b");
        found.set_override(b"myhostname", b"c.d").unwrap();
        assert_eq!(found.text("mydomain").unwrap(), "d");
        let broken = parameters("myhostname = ${\n").with_defaults(defaults);
        assert_eq!(broken.text("mydomain").unwrap(), "localdomain");
    }

    #[test]
    fn with_defaults_of_3_12_lengthens_the_built_in_list() {
        let found = parameters("").with_defaults(b"mail_version = 3.12-20260821\n");
        assert_eq!(found.raw("proxy_read_maps").unwrap().split(|byte| *byte == b' ').count(), 107);
    }
}

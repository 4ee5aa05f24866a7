//! The tables whose values clients take for the content of files.
//!
//! Pure. Of all parameters of Postfix, `tls_server_sni_maps` alone has its tables opened so (the SRC_RHS_IS_FILE flag;
//! source: Postfix 3.7.11 and 3.12).

use std::collections::BTreeSet;

use super::names::{ListFiles, NameReader, Source};
use crate::master_cf::MasterCf;
use crate::parameters::Parameters;
use crate::version::PostfixVersion;

/// The parameter.
const PARAMETER: &str = "tls_server_sni_maps";

/// The names (`type:rest`) of the tables with `proxy:` that `tls_server_sni_maps` refers to, in main.cf and with the
/// options of each service in master.cf. What cannot be expanded names nothing: whoever uses it dies.
#[must_use]
pub fn tables_of_file_content(
    params: &Parameters,
    master: &MasterCf,
    version: PostfixVersion,
) -> BTreeSet<Vec<u8>> {
    let mut names = BTreeSet::new();
    add(params, version, &mut names);
    for service in master.services.iter().filter(|service| !service.overrides.is_empty()) {
        let mut own = params.clone();
        // Complaints about options are for those who read the service's own.
        let _ = own.apply(service);
        add(&own, version, &mut names);
    }
    names
}

fn add(params: &Parameters, version: PostfixVersion, names: &mut BTreeSet<Vec<u8>>) {
    let Ok(text) = params.expand(PARAMETER) else { return };
    let (mut nothing, mut complaints) = (|_: &[u8]| None, Vec::new());
    let mut files = ListFiles::new(&mut nothing);
    let source = Source::of(params, PARAMETER.as_bytes(), PARAMETER.as_bytes());
    NameReader::new(version, &mut files, &mut complaints).list(&text, &source, &mut |name, _| {
        names.insert(name.to_vec());
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{parse_main, parse_master};

    fn names(main: &str, master: &str) -> Vec<String> {
        let params = Parameters::new(parse_main(main.as_bytes()).0);
        let (master, _) = parse_master(master.as_bytes());
        let names = tables_of_file_content(&params, &master, params.version());
        names.into_iter().map(|name| String::from_utf8(name).unwrap()).collect()
    }

    #[test]
    fn tables_of_file_content_in_main_cf_and_in_options_of_services() {
        let main = "sni = proxy:texthash:/a\ntls_server_sni_maps = $sni, hash:/own, unionmap:{proxy:cdb:/b, inline:{c=d}}\n\
                    virtual_alias_maps = proxy:texthash:/other\n";
        assert_eq!(names(main, ""), ["cdb:/b", "texthash:/a"]);
        let master = "smtpd inet n - y - - smtpd\ns inet n - y - - smtpd -o tls_server_sni_maps=proxy:pcre:/p\n\
                      t unix - - y - 0 tlsproxy -o sni=proxy:proxy:static:/f\n";
        assert_eq!(names(main, master), ["cdb:/b", "pcre:/p", "static:/f", "texthash:/a"]);
        assert!(names("tls_server_sni_maps = ${\n", "").is_empty());
    }
}

//! A temporary mail site: a main.cf, a few tables, and a private directory for the socket.

use super::failure;
use crate::error::Error;
use mapkeep_config_site::accounts::Accounts;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The directory of the demo, removed on drop.
#[derive(Debug)]
pub(crate) struct Site {
    folder: PathBuf,
    /// Table types that postmap(1) could build here.
    built: Vec<&'static str>,
}

const ALIASES: &str =
    "postmaster@example.org root@example.org\nSales@Example.org alice@example.org, bob@example.org\n";

impl Site {
    /// Creates the directory where no other user can write into its parents: the trust rules apply here, too.
    pub(crate) fn make() -> Result<Site, Error> {
        let parent = if nix::unistd::geteuid().is_root() {
            PathBuf::from("/run")
        } else {
            let runtime = std::env::var_os("XDG_RUNTIME_DIR").or_else(|| std::env::var_os("HOME"));
            runtime.map(PathBuf::from).ok_or_else(|| failure("neither XDG_RUNTIME_DIR nor HOME is set"))?
        };
        let folder = parent.canonicalize()?.join(format!("mapkeep-demo-{}", std::process::id()));
        fs::DirBuilder::new().mode(0o755).create(&folder)?;
        let mut site = Site { folder, built: Vec::new() };
        site.fill()?;
        Ok(site)
    }

    fn fill(&mut self) -> Result<(), Error> {
        let place = |name: &str| self.folder.join(name);
        fs::DirBuilder::new().mode(0o700).create(place("private"))?;
        fs::DirBuilder::new().mode(0o755).create(place("empty"))?;
        self.write("text", ALIASES, 0o644)?;
        self.write("writable-by-all", "key value\n", 0o666)?;
        let here = self.folder.display();
        let names = ["hash", "btree", "lmdb", "cdb"];
        let mut main = format!(
            "compatibility_level = 3.6\nqueue_directory = {here}\nmail_owner = {}\n\
             local_recipient_maps = proxy:unix:passwd.byname proxy:unix:group.byname\n\
             virtual_alias_maps = proxy:texthash:{here}/text\n\
             relay_recipient_maps = proxy:inline:{{ {{ ok@example.net = yes }} }}\n\
             transport_maps = proxy:static:smtp:[192.0.2.1]\n\
             canonical_maps = proxy:texthash:{here}/writable-by-all proxy:hash:{here}/not-there\n\
             sender_canonical_maps = proxy:texthash:/etc/shadow\n",
            owner()
        );
        let indexed: Vec<String> = names.iter().map(|name| format!("proxy:{name}:{here}/{name}")).collect();
        main.push_str(&format!("recipient_canonical_maps = {}\n", indexed.join(" ")));
        self.write("main.cf", &main, 0o644)?;
        // So that nothing is left in /run/mapkeep.
        self.write("mapkeep.cf", &format!("chroot_directory = {here}/empty\n"), 0o644)?;
        for name in names {
            self.write(name, ALIASES, 0o644)?;
            if self.postmap(name) {
                self.built.push(name);
            }
        }
        Ok(())
    }

    fn write(&self, name: &str, text: &str, mode: u32) -> Result<(), Error> {
        let path = self.folder.join(name);
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        Ok(())
    }

    /// Builds an indexed table, where Postfix is installed and knows the type.
    fn postmap(&self, kind: &str) -> bool {
        let table = format!("{kind}:{}", self.folder.join(kind).display());
        let mut command = Command::new("/usr/sbin/postmap");
        command.arg("-c").arg(&self.folder).arg(table).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("private/proxymap")
    }

    pub(crate) fn text_table(&self) -> String {
        format!("texthash:{}/text", self.folder.display())
    }

    pub(crate) fn edit_text_table(&self) -> Result<(), Error> {
        let mut file = fs::File::options().append(true).open(self.folder.join("text"))?;
        file.write_all(b"fresh@example.org alice@example.org\n")?;
        Ok(())
    }

    /// Tables and keys that can be asked.
    pub(crate) fn questions(&self) -> Vec<(String, &'static str)> {
        let mut questions = vec![
            (self.text_table(), "sales@example.org"),
            (self.text_table(), "nobody@example.org"),
            ("unix:passwd.byname".to_owned(), "root"),
            ("unix:passwd.byname".to_owned(), "no-such-user"),
            ("unix:group.byname".to_owned(), "mail"),
            ("inline:{ { ok@example.net = yes } }".to_owned(), "ok@example.net"),
            ("static:smtp:[192.0.2.1]".to_owned(), "anything"),
        ];
        for kind in &self.built {
            questions.push((format!("{kind}:{}/{kind}", self.folder.display()), "postmaster@example.org"));
        }
        questions
    }

    /// Tables that are not served, each for another reason.
    pub(crate) fn refused(&self) -> Vec<(String, &'static str)> {
        let here = self.folder.display();
        vec![
            (format!("hash:{here}/unlisted"), "key"),
            (format!("texthash:{here}/writable-by-all"), "key"),
            (format!("hash:{here}/not-there"), "key"),
            ("texthash:/etc/shadow".to_owned(), "root"),
        ]
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A user that exists: Postfix's own, or the one who runs the demo.
fn owner() -> String {
    match Accounts::read().ids_of("postfix") {
        Some(_) => "postfix".to_owned(),
        None => nix::unistd::geteuid().to_string(),
    }
}

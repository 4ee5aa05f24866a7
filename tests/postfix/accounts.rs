//! Recipients that /etc/passwd does not have, while nsswitch.conf names another source of accounts.

use crate::assert_code;
use crate::common::postfix::{Instance, Server};

/// The account may exist, so the client must try again; one in the file is accepted as before.
pub fn account_of_another_source_is_a_temporary_error(server: Server) {
    let mut mail = Instance::new(server);
    mail.set("local_recipient_maps", "proxy:unix:passwd.byname");
    mail.see_nsswitch("passwd: files sss\ngroup: files\n");
    mail.start();
    let mut smtp = mail.smtp();
    smtp.mail("someone@client.example");
    assert_code(&mut smtp, "root@local.example", 250, "");
    assert_code(&mut smtp, "netuser@local.example", 451, "Temporary lookup failure");
    smtp.quit();
    assert!(mail.log_contains("names \"sss\" for passwd"));
}

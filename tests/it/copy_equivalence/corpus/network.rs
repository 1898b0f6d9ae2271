//! Network addresses, and places in the write-ahead log.

use super::super::generated::{any_of, re};
use super::{Case, with_array};

pub(super) fn cases() -> Vec<Case> {
    let address_pieces = &[".", ":", "::", "/", "1", "255", "256", "0", "ffff", "10", " ", "g", "32", "-1"];
    let octet = "(25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])";
    let four = format!("{octet}(\\.{octet}){{3}}");
    let six = "([0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}";
    let short = "([0-9a-f]{1,4}:){1,3}(:[0-9a-f]{1,4}){1,3}";
    let hosts = [
        re(&four),
        re(&format!("{four}/(3[0-2]|[12]?[0-9])")),
        re(six),
        re(short),
        re(&format!("{short}/(12[0-8]|1[01][0-9]|[1-9]?[0-9])")),
        re(&format!("::ffff:{four}")),
    ];
    let networks = [
        re(&format!("{octet}\\.{octet}\\.{octet}\\.0/24")),
        re(&format!("{octet}\\.{octet}/16")),
        re(&format!("{octet}/8")),
        re(&format!("{octet}(\\.{octet}){{0,3}}")),
        re("([0-9a-f]{1,4}:){1,3}:/64"),
        re("([0-9a-f]{1,4}:){2}:/(4[0-9]|3[2-9])"),
    ];
    let mut cases = with_array(Case::new("inet", &["inet"], address_pieces, any_of(hosts.clone()))).to_vec();
    cases.extend(with_array(Case::new("cidr", &["inet"], address_pieces, any_of(networks.into_iter().chain(hosts)))));
    let mac_pieces = &[":", "-", ".", "0", "ff", "08", "a", "g", " ", "123"];
    for (name, more) in [("macaddr", 3), ("macaddr8", 5)] {
        let values = any_of([
            re("[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}"),
            re(&format!("[0-9a-f]{{6}}[:-][0-9a-f]{{{}}}", 2 * more)),
            re(&format!("[0-9a-f]{{2}}(-[0-9a-f]{{2}}){{{}}}", more + 2)),
            re("[0-9a-f]{4}(\\.[0-9a-f]{4}){2}"),
            re(&format!("[0-9A-F]{{{}}}", 6 + 2 * more)),
            re("[ ]{0,2}[0-9a-f]{1,2}(:[0-9a-f]{1,2}){5}[ ]{0,2}"),
        ]);
        cases.extend(with_array(Case::new(name, &["macs"], mac_pieces, values)));
    }
    let lsn = any_of([re("[0-9A-F]{1,8}/[0-9A-F]{1,8}"), re("0/[0-9a-f]{1,8}")]);
    cases.extend(with_array(Case::new("pg_lsn", &["pg_lsn"], &["/", "0", "F", "1", "g", " ", "-"], lsn)));
    cases
}

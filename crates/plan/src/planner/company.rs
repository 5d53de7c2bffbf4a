//! Who may share a server with whom, as the packer reads it.

use crate::input::{Isolation, Tenant};
use crate::pack::Company;

/// Sets of tenants that the packer tells apart.
const MOST_SETS: usize = u64::BITS as usize;

/// Sets that are tried while looking for the maximal ones.
const MOST_TRIES: u32 = 10_000;

/// The company of each tenant. Dedicated tenants have a pool each; among the others the sets are the maximal ones of
/// whom no two avoid each other.
pub struct Companies {
    /// What plans keep.
    pub kept: Vec<Company>,
    /// What every legal plan keeps: the same, unless there are too many sets.
    pub certain: Vec<Company>,
}

/// Reads the companies off.
pub fn companies(tenants: &[Tenant]) -> Companies {
    let open: Vec<usize> =
        (0..tenants.len()).filter(|t| tenants[*t].isolation != Isolation::Dedicated).collect();
    let shy: Vec<usize> =
        open.iter().copied().filter(|t| open.iter().any(|o| avoid(&tenants[*t], &tenants[*o]))).collect();
    let (mut sets, mut tries) = (Vec::new(), MOST_TRIES);
    let exact = maximal(tenants, &shy, &mut Vec::new(), &mut sets, &mut tries);
    let own = |t: usize| Company { pool: 1 + t as u32, sets: u64::MAX };
    let certain = |t: usize| match (open.contains(&t), exact && shy.contains(&t)) {
        (false, _) => own(t),
        (true, false) => Company::ANY,
        (true, true) => {
            let with = (0..sets.len()).filter(|s| sets[*s].contains(&t));
            Company { pool: 0, sets: with.fold(0, |bits, s| bits | 1 << s) }
        }
    };
    let certain: Vec<Company> = (0..tenants.len()).map(certain).collect();
    let kept = if exact { certain.clone() } else { coloured(tenants, &shy, &certain) };
    Companies { kept, certain }
}

fn avoid(a: &Tenant, b: &Tenant) -> bool {
    let names =
        |a: &Tenant, b: &Tenant| matches!(&a.isolation, Isolation::NeverWith(o) if o.contains(&b.name));
    a.name != b.name && (names(a, b) || names(b, a))
}

/// All maximal sets that extend `chosen` by some of `left`; false when there are too many.
fn maximal(
    tenants: &[Tenant],
    left: &[usize],
    chosen: &mut Vec<usize>,
    sets: &mut Vec<Vec<usize>>,
    tries: &mut u32,
) -> bool {
    *tries = tries.saturating_sub(1);
    let Some((first, rest)) = left.split_first() else {
        if !sets.iter().any(|s| chosen.iter().all(|t| s.contains(t))) {
            sets.retain(|s| !s.iter().all(|t| chosen.contains(t)));
            sets.push(chosen.clone());
        }
        return sets.len() <= MOST_SETS && *tries > 0;
    };
    let friends: Vec<usize> =
        rest.iter().copied().filter(|t| !avoid(&tenants[*first], &tenants[*t])).collect();
    chosen.push(*first);
    let fine = maximal(tenants, &friends, chosen, sets, tries);
    chosen.pop();
    // Whom nobody left avoids is in every maximal set.
    fine && (friends.len() == rest.len() || maximal(tenants, rest, chosen, sets, tries))
}

/// Too many sets: each tenant keeps to one, the first where nobody avoids it; beyond those, to itself.
fn coloured(tenants: &[Tenant], shy: &[usize], certain: &[Company]) -> Vec<Company> {
    let mut kept = certain.to_vec();
    let mut sets: Vec<Vec<usize>> = Vec::new();
    for t in shy {
        let free = sets.iter().position(|s| s.iter().all(|o| !avoid(&tenants[*t], &tenants[*o])));
        let set = free.unwrap_or_else(|| {
            sets.push(Vec::new());
            sets.len() - 1
        });
        sets[set].push(*t);
        kept[*t] = if set < MOST_SETS {
            Company { pool: 0, sets: 1 << set }
        } else {
            Company { pool: 1 + *t as u32, sets: u64::MAX }
        };
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::parse_demand;

    fn all(text: &str) -> (Vec<String>, Companies) {
        // Each asks for a Node, as it must.
        let demand =
            parse_demand("demand.yaml", &text.replace("}\n", ", nodes: [{size: 2/4, count: 1}]}\n")).unwrap();
        (demand.tenants.iter().map(|t| t.name.clone()).collect(), companies(&demand.tenants))
    }

    #[test]
    fn those_who_may_meet_have_a_set_in_common_and_nobody_else() {
        let text = "tenants:\n- {name: a, neverWith: [b, c]}\n- {name: b}\n- {name: c, neverWith: [d]}\n- {name: d}\n- {name: e}\n- {name: f, isolation: dedicated}\n";
        let (names, found) = all(text);
        let apart = ["ab", "ac", "cd", "af", "bf", "cf", "df", "ef"];
        for (i, a) in names.iter().enumerate() {
            for (j, b) in names.iter().enumerate().skip(i + 1) {
                let meet = found.kept[i].with(found.kept[j]).is_some();
                assert_eq!(meet, !apart.contains(&format!("{a}{b}").as_str()), "{a} {b}");
            }
        }
        assert_eq!(found.kept, found.certain);
    }

    #[test]
    fn too_many_sets_are_kept_apart_by_colour_and_the_bound_knows_none_of_it() {
        // Pairs that avoid each other: two to the power of their number of maximal sets.
        let pair = |n: u32| format!("- {{name: a{n}, neverWith: [b{n}]}}\n- {{name: b{n}}}\n");
        let (names, found) = all(&format!("tenants:\n{}", (0..40).map(pair).collect::<String>()));
        assert!(found.certain.iter().all(|c| *c == Company::ANY));
        for n in 0..40 {
            let at = |name: String| names.iter().position(|x| *x == name).unwrap();
            let (a, b) = (found.kept[at(format!("a{n}"))], found.kept[at(format!("b{n}"))]);
            assert_eq!(a.with(b), None);
        }
    }
}

//! The best content of one host when no grid applies: branch and bound with bounds that are proved in integers.

use super::{DIMS, HostType, Pattern, Problem, SIDES, Shape, Slot};

/// Duals of the small linear programs are counted in this fraction.
const DUAL_SCALE: f64 = (1_u64 << 20) as f64;

/// How hard to look.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// What may be worth this much more need not be looked at.
    pub slack: i64,
    /// Branches after which the search stops and reports what it could not exclude.
    pub branches: usize,
}

/// A variable: a shape at a place of the host.
#[derive(Clone)]
struct Choice {
    shape: usize,
    at: [u8; 2],
    price: i64,
    /// What it takes of each row: NUMA nodes' resources, the host's, then limits.
    takes: Vec<(usize, i64)>,
}

struct Search {
    best: i64,
    /// By shape and place.
    content: Vec<(usize, [u8; 2], i64)>,
    upper: i64,
    branches: usize,
    slack: i64,
}

/// The best pattern of shapes (by index) for a host, and a value that no pattern exceeds.
pub fn best(
    index: usize,
    host: &HostType,
    problem: &Problem,
    among: &[usize],
    prices: &[i64],
    effort: Effort,
) -> (Pattern, i64, i64) {
    let shapes = &problem.shapes;
    let mut left: Vec<i64> = host.nodes.iter().flatten().chain(&host.side).map(|v| (*v).max(0)).collect();
    let mut choices: Vec<Choice> = Vec::new();
    for s in among.iter().copied().filter(|s| prices[*s] > 0) {
        let first = choices.len();
        let places = shapes[s].places(host).into_iter();
        choices.extend(places.map(|at| choice(s, at, host, shapes, prices)).filter(|c| most(c, &left) > 0));
        let limit = i64::from(problem.most_of(s));
        if choices[first..].iter().map(|c| most(c, &left)).sum::<i64>() > limit {
            choices[first..].iter_mut().for_each(|c| c.takes.push((left.len(), 1)));
            left.push(limit);
        }
    }
    let mut search =
        Search { best: 0, content: Vec::new(), upper: 0, branches: effort.branches, slack: effort.slack };
    search.explore(&choices, left, &mut Vec::new(), 0);
    let mut slots: Vec<Slot> = Vec::new();
    search.content.sort_unstable();
    for (shape, nodes, count) in search.content {
        match slots.last_mut().filter(|s| s.shape == shape && s.nodes == nodes) {
            Some(slot) => slot.count += count as u32,
            None => slots.push(Slot { shape, nodes, count: count as u32 }),
        }
    }
    (Pattern { host: index, slots }, search.best, search.upper.max(search.best))
}

fn choice(shape: usize, at: [u8; 2], host: &HostType, shapes: &[Shape], prices: &[i64]) -> Choice {
    let part = shapes[shape].per_node(host);
    let both = if at[0] == at[1] { &at[..1] } else { &at[..] };
    let mut takes: Vec<(usize, i64)> =
        both.iter().flat_map(|n| (0..DIMS).map(move |d| (usize::from(*n) * DIMS + d, part[d]))).collect();
    takes.extend((0..SIDES).map(|d| (host.nodes.len() * DIMS + d, shapes[shape].side[d])));
    takes.retain(|(_, v)| *v > 0);
    Choice { shape, at, price: prices[shape], takes }
}

fn most(choice: &Choice, capacity: &[i64]) -> i64 {
    choice.takes.iter().map(|(r, v)| capacity[*r] / v).min().unwrap_or(0)
}

impl Search {
    /// Everything that `taken` (worth `value`) and the choices can still become.
    fn explore(
        &mut self,
        choices: &[Choice],
        left: Vec<i64>,
        taken: &mut Vec<(usize, [u8; 2], i64)>,
        value: i64,
    ) {
        let relaxed = Relaxation::of(choices, &left);
        let counts = relaxed.rounded(choices, &left);
        let found: i64 = choices.iter().zip(&counts).map(|(c, n)| c.price * n).sum();
        if value + found > self.best {
            self.best = value + found;
            self.content.clone_from(taken);
            let more = choices.iter().zip(&counts).filter(|(_, n)| **n > 0);
            self.content.extend(more.map(|(c, n)| (c.shape, c.at, *n)));
        }
        let upper = value + relaxed.upper;
        let fraction = |j: &usize| (relaxed.solution[*j] - relaxed.solution[*j].round()).abs();
        let branch = (0..choices.len())
            .filter(|j| fraction(j) > 1e-6)
            .max_by(|a, b| fraction(a).total_cmp(&fraction(b)).then(b.cmp(a)));
        let Some(j) = branch.filter(|_| upper > self.best + self.slack && self.branches > 0) else {
            self.upper = self.upper.max(upper);
            return;
        };
        self.branches -= 1;
        // With at least one of what is not kept, nothing better comes of it.
        let enough = self.best + self.slack - value;
        let kept: Vec<usize> = (0..choices.len()).filter(|c| relaxed.with(*c) > enough).collect();
        if kept.len() < choices.len() {
            self.upper = self.upper.max(self.best + self.slack);
        }
        let few = |except: Option<usize>| -> Vec<Choice> {
            kept.iter().filter(|c| Some(**c) != except).map(|c| choices[*c].clone()).collect()
        };
        let whole = relaxed.solution[j].floor() as i64;
        let mut above = left.clone();
        choices[j].takes.iter().for_each(|(r, v)| above[*r] -= v * (whole + 1));
        if above.iter().all(|v| *v >= 0) {
            taken.push((choices[j].shape, choices[j].at, whole + 1));
            self.explore(&few(None), above, taken, value + choices[j].price * (whole + 1));
            taken.pop();
        }
        if whole == 0 {
            self.explore(&few(Some(j)), left, taken, value);
        } else {
            let (mut below, mut limited) = (left, few(None));
            if let Some(at) = kept.iter().position(|c| *c == j) {
                limited[at].takes.push((below.len(), 1));
                below.push(whole);
            }
            self.explore(&limited, below, taken, value);
        }
    }
}

/// The linear relaxation: its duals made feasible in integers, and its solution as a hint.
struct Relaxation {
    /// No integer content is worth more.
    upper: i64,
    /// The same over [`DUAL_SCALE`].
    scaled: i128,
    /// By choice, over [`DUAL_SCALE`]: what one of it costs beyond its price.
    reduced: Vec<i128>,
    solution: Vec<f64>,
}

impl Relaxation {
    fn of(choices: &[Choice], left: &[i64]) -> Relaxation {
        let (duals, solution) = simplex(choices, left);
        let scaled: Vec<i128> = duals.iter().map(|y| (y.max(0.0) * DUAL_SCALE).ceil() as i128).collect();
        let scale = DUAL_SCALE as i128;
        let mut total: i128 = scaled.iter().zip(left).map(|(y, b)| y * i128::from(*b)).sum();
        let mut reduced = Vec::with_capacity(choices.len());
        for c in choices {
            let paid: i128 = c.takes.iter().map(|(r, v)| scaled[*r] * i128::from(*v)).sum();
            let over = paid - i128::from(c.price) * scale;
            total += (-over).max(0) * i128::from(most(c, left));
            reduced.push(over.max(0));
        }
        let upper = i64::try_from(total / scale).unwrap_or(i64::MAX / 4);
        Relaxation { upper, scaled: total, reduced, solution }
    }

    /// No content with at least one of a choice is worth more.
    fn with(&self, choice: usize) -> i64 {
        i64::try_from((self.scaled - self.reduced[choice]) / DUAL_SCALE as i128).unwrap_or(i64::MAX / 4)
    }

    /// The solution rounded down, then filled up by what costs least beyond its price.
    fn rounded(&self, choices: &[Choice], capacity: &[i64]) -> Vec<i64> {
        let mut left = capacity.to_vec();
        let mut counts = vec![0; choices.len()];
        let mut put = |j: usize, n: i64, left: &mut Vec<i64>| {
            let c = &choices[j];
            let n = n.min(most(c, left)).max(0);
            c.takes.iter().for_each(|(r, v)| left[*r] -= v * n);
            counts[j] += n;
        };
        for (j, x) in self.solution.iter().enumerate() {
            put(j, (x + 1e-6).floor() as i64, &mut left);
        }
        let mut order: Vec<usize> = (0..choices.len()).collect();
        let loss: Vec<f64> =
            choices.iter().zip(&self.reduced).map(|(c, r)| *r as f64 / c.price.max(1) as f64).collect();
        order.sort_by(|a, b| {
            loss[*a].total_cmp(&loss[*b]).then(choices[*b].price.cmp(&choices[*a].price)).then(a.cmp(b))
        });
        for j in order {
            put(j, i64::MAX, &mut left);
        }
        counts
    }
}

/// Duals and solution of `maximise price·x, takes·x <= left` by a dense tableau.
fn simplex(choices: &[Choice], left: &[i64]) -> (Vec<f64>, Vec<f64>) {
    let rows: Vec<usize> = (0..left.len()).collect();
    let (m, n) = (rows.len(), choices.len());
    let scale: Vec<f64> = left.iter().map(|b| (*b as f64).max(1.0)).collect();
    let worth = choices.iter().map(|c| c.price).max().unwrap_or(1).max(1) as f64;
    let width = n + m + 1;
    let mut t = vec![0.0; (m + 1) * width];
    for (j, c) in choices.iter().enumerate() {
        c.takes.iter().for_each(|(r, v)| t[r * width + j] = *v as f64 / scale[*r]);
        t[m * width + j] = -(c.price as f64) / worth;
    }
    for r in 0..m {
        t[r * width + n + r] = 1.0;
        t[r * width + width - 1] = left[r] as f64 / scale[r];
    }
    let mut basis: Vec<usize> = (n..n + m).collect();
    for _ in 0..20 * (m + 2) {
        let Some(enter) = (0..n + m)
            .filter(|j| t[m * width + j] < -1e-9)
            .min_by(|a, b| t[m * width + a].total_cmp(&t[m * width + b]))
        else {
            break;
        };
        let Some(leave) = (0..m).filter(|r| t[r * width + enter] > 1e-9).min_by(|a, b| {
            let ratio = |r: &usize| t[r * width + width - 1] / t[r * width + enter];
            ratio(a).total_cmp(&ratio(b))
        }) else {
            break;
        };
        basis[leave] = enter;
        let pivot = t[leave * width + enter];
        t[leave * width..(leave + 1) * width].iter_mut().for_each(|v| *v /= pivot);
        let row = t[leave * width..(leave + 1) * width].to_vec();
        for r in (0..=m).filter(|r| *r != leave) {
            let f = t[r * width + enter];
            if f != 0.0 {
                t[r * width..(r + 1) * width].iter_mut().zip(&row).for_each(|(x, y)| *x -= f * y);
            }
        }
    }
    let mut solution = vec![0.0; n];
    for (r, j) in basis.iter().enumerate().filter(|(_, j)| **j < n) {
        solution[*j] = t[r * width + width - 1];
    }
    ((0..m).map(|r| t[m * width + n + r] * worth / scale[r]).collect(), solution)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::{Company, Fit, Res};

    fn brute(left: Res, shapes: &[Shape], prices: &[i64]) -> i64 {
        fn go(at: usize, left: Res, shapes: &[Shape], prices: &[i64]) -> i64 {
            if at == shapes.len() {
                return 0;
            }
            let mut best = 0;
            let mut rest = left;
            let mut n = 0;
            loop {
                best = best.max(n * prices[at] + go(at + 1, rest, shapes, prices));
                (0..DIMS).for_each(|d| rest[d] -= shapes[at].res[d]);
                n += 1;
                if rest.iter().any(|v| *v < 0) {
                    return best;
                }
            }
        }
        go(0, left, shapes, prices)
    }

    #[test]
    fn agrees_with_enumeration() {
        let shape = |c, m| Shape { res: [c, m, 0], side: [1, 0], fit: Fit::Node, company: Company::ANY };
        let shapes = vec![shape(7, 11), shape(5, 3), shape(13, 8)];
        for seed in 1..60_i64 {
            let prices = vec![30 + seed * 7 % 41, 17 + seed * 13 % 29, 44 + seed * 5 % 37];
            let node = [20 + seed % 31, 25 + seed * 3 % 23, 0];
            let host = HostType { nodes: vec![node], side: [100, 0], cost: 1, class: 0, company: None };
            let problem = Problem { shapes: shapes.clone(), ..Problem::default() };
            let effort = Effort { slack: 0, branches: 10_000 };
            let (pattern, value, upper) = best(0, &host, &problem, &[0, 1, 2], &prices, effort);
            let want = brute(node, &shapes, &prices);
            assert!(value <= want && want <= upper && upper <= want + 1, "{value} <= {want} <= {upper}");
            assert_eq!(value, want);
            assert!(pattern.rest(&host, &shapes).is_some());
        }
    }
}

//! Rectangles of given areas in a box, as square as they get (Bruls, Huizing, van Wijk 2000).

/// A rectangle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rect {
    /// Left.
    pub x: f64,
    /// Top.
    pub y: f64,
    /// Width.
    pub w: f64,
    /// Height.
    pub h: f64,
}

/// Lays out areas (which sum to at most that of the box) in their order.
pub fn squarify(areas: &[f64], space: Rect) -> Vec<Rect> {
    let mut out = Vec::with_capacity(areas.len());
    let (mut rest, mut from) = (space, 0);
    while from < areas.len() {
        let short = rest.w.min(rest.h).max(1e-9);
        let mut to = from + 1;
        while to < areas.len() && worst(&areas[from..=to], short) <= worst(&areas[from..to], short) {
            to += 1;
        }
        let row = &areas[from..to];
        let sum: f64 = row.iter().sum();
        let thick = (sum / short).min(rest.w.max(rest.h));
        let mut at = 0.0;
        for area in row {
            let long = if sum > 0.0 { area / sum * short } else { 0.0 };
            out.push(if rest.w >= rest.h {
                Rect { x: rest.x, y: rest.y + at, w: thick, h: long }
            } else {
                Rect { x: rest.x + at, y: rest.y, w: long, h: thick }
            });
            at += long;
        }
        if rest.w >= rest.h {
            rest = Rect { x: rest.x + thick, w: rest.w - thick, ..rest };
        } else {
            rest = Rect { y: rest.y + thick, h: rest.h - thick, ..rest };
        }
        from = to;
    }
    out
}

/// The worst aspect of a row along the short side.
fn worst(row: &[f64], short: f64) -> f64 {
    let sum: f64 = row.iter().sum::<f64>().max(1e-12);
    let ratio = |a: &f64| {
        let a = a.max(1e-12);
        (short * short * a / (sum * sum)).max(sum * sum / (short * short * a))
    };
    row.iter().map(ratio).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_are_kept_and_stay_inside() {
        let space = Rect { x: 10.0, y: 20.0, w: 200.0, h: 100.0 };
        let areas = [6000.0, 5000.0, 4000.0, 3000.0, 1000.0, 1000.0];
        for (rect, area) in squarify(&areas, space).iter().zip(areas) {
            assert!((rect.w * rect.h - area).abs() < 1e-6);
            assert!(rect.x >= 10.0 - 1e-9 && rect.x + rect.w <= 210.0 + 1e-9, "{rect:?}");
            assert!(rect.y >= 20.0 - 1e-9 && rect.y + rect.h <= 120.0 + 1e-9, "{rect:?}");
        }
    }
}

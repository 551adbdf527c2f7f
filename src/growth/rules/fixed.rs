//! SWE-F: one step unties everything (arXiv 2110.03848, section 3).

use crate::growth::rules::scheduled::Scheduled;
use crate::growth::sharing::SharingConfig;
use crate::layer_map::LayerMap;

/// Unties all layers, shared as `start` until then, after `sharing.untie_at`.
pub fn fixed(config: &SharingConfig, start: LayerMap, steps: u64) -> Scheduled {
    let at = config.untie_at.step(steps);
    Scheduled {
        later: vec![(at, LayerMap::untied(start.num_layers()))],
        start,
        moments: config.moments,
        words: format!("untied after step {at}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::growth::point::RunPoint;
    use crate::growth::rule::Rule;

    #[test]
    fn it_unties_once_at_its_step() {
        let config = SharingConfig { untie_at: RunPoint::Step(3), ..Default::default() };
        let (tied, untied) = (LayerMap::tied(4), LayerMap::untied(4));
        let mut fixed = fixed(&config, tied.clone(), 1000);
        assert_eq!(fixed.decide(2, None, &tied), None);
        assert_eq!(fixed.decide(3, None, &tied).unwrap().walk, untied);
        assert_eq!(fixed.decide(4, None, &untied), None);
        assert_eq!(fixed.course(1000), [(0, tied.clone()), (3, untied)]);
        assert_eq!(fixed.course(3), [(0, tied)]);
    }
}

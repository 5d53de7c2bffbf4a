//! Managers that are killed at any moment. In a binary of its own: the controllers that other tests share would work beside
//! them.

mod world;

use scute_api::bootstrap::KubeadmConfig;
use scute_testkit::Mortal;
use world::{VERSION, World, manager, run};

#[test]
fn a_manager_that_is_killed_all_the_time_makes_nothing_twice() {
    run(async {
        let world = World::without_manager("killed").await;
        world.control_plane(3).await;
        let mut lives = 0_u64;
        scute_testkit::until("three Machines", || {
            lives += 1;
            let (world, life) = (&world, lives);
            async move {
                let mortal = Mortal::start(manager()).await;
                // Longer each time, so that every step is cut short once and the last ones are not.
                tokio::time::sleep(std::time::Duration::from_millis(150 * life.min(40))).await;
                mortal.kill().await;
                let machines = world.machines().await;
                let running = machines.iter().filter(|machine| {
                    machine.status.as_ref().is_some_and(|status| status.node_ref.is_some())
                });
                (running.count() == 3).then_some(())
            }
        })
        .await;
        assert_eq!(world.player.made().len(), 3);
        assert_eq!(world.ring.names().len(), 3);
        let configs =
            world.case.api::<KubeadmConfig>().list(&Default::default()).await.expect("listed").items;
        let begins = configs.iter().filter(|config| config.spec.init_configuration.is_some()).count();
        assert_eq!((configs.len(), begins), (3, 0), "no half is left");
        assert_eq!(world.record().await.data.map(|data| data.len()), Some(1));
        assert!(
            world.machines().await.iter().all(|machine| machine.spec.version.as_deref() == Some(VERSION))
        );
    });
}

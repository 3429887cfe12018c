"""What the simulated camera sees, measured and judged by the product's own code."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diemcau_agent.judges import judge
from diemcau_drivers.measure import picture
from diemcau_sim.scene import Scene
from diemcau_sim.world import World

FRAME_FAULTS = (
    "frame_black",
    "frame_frozen",
    "frame_dark",
    "frame_overexposed",
    "frame_blurred",
    "frame_covered",
)


def look(scene: Scene) -> dict[str, float]:
    frames, fps = scene.grab(5)
    return picture.look(frames, fps)


def photograph(path: Path, luma: int, size: tuple[int, int] = (800, 600)) -> Path:
    """A flat picture with a chequered square in its middle."""
    pixels = np.full((size[1], size[0]), luma, np.uint8)
    middle = pixels[size[1] // 3 : 2 * size[1] // 3, size[0] // 3 : 2 * size[0] // 3]
    middle[(np.indices(middle.shape).sum(axis=0) // 8) % 2 == 0] = 255 - luma
    Image.fromarray(pixels).save(path)
    return path


def test_a_healthy_room_is_seen_well_at_any_zoom() -> None:
    world = World()
    scene = Scene(world)
    for zoom in (1.0, 1.5, 2.0, 4.0):
        world.set_camera(zoom=zoom)
        assert judge("camera", look(scene)) == ()


def test_no_two_frames_are_the_same() -> None:
    frames, fps = Scene(World()).grab(10)
    assert fps == 30.0
    assert len({frame.tobytes() for frame in frames}) == 10
    assert frames[0].shape == (480, 640)


@pytest.mark.parametrize("code", FRAME_FAULTS)
def test_each_fault_of_the_picture_is_judged_as_its_own_code(code: str) -> None:
    world = World()
    scene = Scene(world)
    world.set_fault(code, True)
    for _ in range(3):
        assert judge("camera", look(scene)) == (code,)
    world.set_fault(code, False)
    assert judge("camera", look(scene)) == ()


@pytest.mark.parametrize("code", FRAME_FAULTS)
def test_faults_show_on_a_photograph_as_well(tmp_path: Path, code: str) -> None:
    world = World()
    scene = Scene(world, photograph(tmp_path / "hall.png", 90))
    assert judge("camera", look(scene)) == ()
    world.set_fault(code, True)
    assert judge("camera", look(scene)) == (code,)


def test_the_light_changes_slowly() -> None:
    now = [0.0]
    world = World(clock=lambda: now[0])
    scene = Scene(world)
    means: list[float] = []
    for second in range(0, 91, 10):
        now[0] = float(second)
        means.append(picture.luma_mean(scene.grab(1)[0][0]))
    assert 0.01 < max(means) - min(means) < 0.05


def test_frozen_is_the_same_frame_over_many_looks() -> None:
    world = World()
    scene = Scene(world)
    world.set_fault("frame_frozen", True)
    first, again = scene.grab(1)[0][0], scene.grab(3)[0][2]
    assert first.tobytes() == again.tobytes()


def test_zoom_crops_around_its_centre(tmp_path: Path) -> None:
    world = World()
    scene = Scene(world, photograph(tmp_path / "hall.png", 40))
    whole = picture.luma_std(scene.grab(1)[0][0])
    world.set_camera(zoom=3.0)
    inside = picture.luma_std(scene.grab(1)[0][0])
    world.set_camera(zoom=3.0, centre_x=0.0, centre_y=0.0)  # kept within the picture: a flat corner
    corner = picture.luma_std(scene.grab(1)[0][0])
    assert corner < 0.02 < whole < inside


def test_frames_of_a_directory_come_in_order_again_and_again(tmp_path: Path) -> None:
    for index, luma in enumerate((40, 120, 200)):
        Image.new("L", (64, 48), luma).save(tmp_path / f"frame-{index}.png")
    (tmp_path / "readme.txt").write_text("not a frame")
    frames, _ = Scene(World(), tmp_path).grab(6)
    levels = [round(float(frame.mean()) / 40.0) for frame in frames]
    begin = levels.index(1)
    assert (levels[begin:] + levels[:begin])[:3] == [1, 3, 5]
    assert levels[:3] == levels[3:]


def test_a_snapshot_is_a_colour_jpeg_of_the_width_asked_for() -> None:
    data, width_px, height_px = Scene(World()).jpeg(80, 320)
    with Image.open(io.BytesIO(data)) as snapshot:
        assert (snapshot.format, snapshot.size, snapshot.mode) == ("JPEG", (320, 240), "RGB")
    assert (width_px, height_px) == (320, 240)


def test_a_camera_that_is_off_sees_nothing() -> None:
    world = World()
    scene = Scene(world)
    world.set_camera(power=False)
    assert judge("camera", look(scene)) == ("frame_black",)


def test_a_scene_that_cannot_be_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file"):
        Scene(World(), tmp_path / "gone.png")
    with pytest.raises(ValueError, match="no picture in it"):
        Scene(World(), tmp_path)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"broken\.png: no picture that can be read"):
        Scene(World(), broken)

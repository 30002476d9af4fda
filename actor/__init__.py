"""The processes that step environments. Importing this package registers `Grasp-v0` with Gymnasium."""

from graspfleet.actor.grasp import register

register()

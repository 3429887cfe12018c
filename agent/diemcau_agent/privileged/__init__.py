"""What root's own small processes have in common: ``authority`` says whether a command is obeyed, ``serve``
is how they are asked, ``client`` how the daemon asks. They believe the daemon nothing."""

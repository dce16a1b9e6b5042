"""What turns a prompt into an answer inside the endpoint's process, behind the protocol of `model.answering`."""

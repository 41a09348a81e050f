"""The Ascend adapter on a stand-in of pyACL and atc; `stand_in/` says what that is."""

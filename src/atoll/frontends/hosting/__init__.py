"""What the endpoints of the clouds' hosting services have in common: the JSON part of a body sized by a media type."""
